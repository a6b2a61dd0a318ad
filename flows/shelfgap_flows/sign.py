"""The signature of a release: after the bundle, with the key of the environment."""

from __future__ import annotations

from shelfgap_export.signing import sign_bundle

from shelfgap_flows.settings import Settings
from shelfgap_flows.workspace import Workspace, run_dvc


def sign_release(workspace: Workspace, settings: Settings) -> bool:
    """Sign the released bundle if a key is set, unless that key signed it already.

    The signature lies in an output of DVC's stage `bundle`. DVC is told what that has become, or the next release
    would write the bundle anew; after a kill in between it does, and signs again.

    Returns:
        Whether anything was written.

    Raises:
        ShelfgapError: the key or the bundle cannot be used, or DVC is unhappy.
    """
    if settings.signing_key is None:
        return False
    written = sign_bundle(workspace.bundle, settings.signing_key, passphrase=settings.passphrase())
    if written:
        run_dvc(workspace, "commit", "--force", "--quiet", "bundle")
    return written
