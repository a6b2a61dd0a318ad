"""Which bundle may run here: read once, its signature checked if keys are given, then its sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shelfgap_edge.bundle import check_sums, read_bundle

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys

UNCHECKED = "not checked"


@dataclass(frozen=True)
class Admitted:
    """The files of a bundle that was admitted, and the key that vouches for them; None if none was asked to."""

    files: dict[str, bytes]
    key_id: str | None

    @property
    def signature(self) -> str:
        """The id of the key that signed, or "not checked"."""
        return self.key_id or UNCHECKED


def admit_bundle(bundle: Path, keys: TrustedKeys | None = None, *, sums: bool = True) -> Admitted:
    """Read a bundle and check that it is what its signature and its sums say, before anything of it is used.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        keys: one of them must have signed it, and count now; None leaves a signature unchecked.
        sums: False skips `SHA256SUMS` (for a bundle that is being built).

    Raises:
        BundleError: the bundle cannot be read, or a file is missing, altered or extra.
        SignatureError: keys are given, and there is no signature or none that holds.
    """
    files = read_bundle(bundle)
    key_id = None
    if keys is not None:
        from shelfgap_edge.signature import check_signed  # without keys a device need not load cryptography

        key_id = check_signed(files, keys, now=datetime.now(UTC), where=str(bundle))
    if sums:
        check_sums(files, str(bundle))
    return Admitted(files, key_id)
