"""The release as a version of the registry: challenger, until it is promoted."""

from __future__ import annotations

from shelfgap_export.promotion import register_bundle

from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace


def register_release(workspace: Workspace, settings: Settings, training_run: str) -> int:
    """Register the released bundle, signed or not, as it is; the same bytes are the same version.

    Returns:
        The number of the version.

    Raises:
        ShelfgapError: the bundle is not whole, or MLflow cannot be used.
    """
    tar = workspace.bundle.with_name(f"{workspace.bundle.name}.tar")
    return register_bundle(registry_for(workspace, settings), tar, training_run).version
