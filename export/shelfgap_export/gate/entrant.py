"""A model in the gate, candidate or champion: what decides its answers, and under which identity it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shelfgap_edge.bundle import Files, check_sums, read_bundle
from shelfgap_edge.contract import MANIFEST_FILE, MODEL_FILES, Manifest
from shelfgap_edge.errors import BundleError
from shelfgap_edge.identity import model_identity
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of


@dataclass(frozen=True, eq=False)
class Entrant:
    """A manifest and the files that go with it; what is judged is its default precision, at its operating point."""

    manifest: Manifest
    files: Files
    where: str  # its name in messages
    origin: str | None = None  # why just this one, for reports

    @cached_property
    def identity(self) -> str:
        """The digest that a promotion names (see `shelfgap_edge.identity`)."""
        return model_identity(self.manifest, self.files)

    @property
    def precision(self) -> str:
        """Which of its models is judged: the one that a device runs unless told otherwise."""
        return self.manifest.default_precision

    @property
    def precisions(self) -> tuple[str, ...]:
        """The models it has."""
        return precisions_of(self.files)

    @property
    def model_bytes(self) -> int:
        """Size of the model that is judged."""
        return len(self.files[MODEL_FILES[self.precision]])

    def detector(self, runtime: str, threads: int = 1, precision: str | None = None) -> Detector:
        """Load one of its models, the judged one by default.

        Raises:
            BundleError: it has no such model, or the runtime cannot run it.
            MissingRuntimeError: the runtime is not installed.
        """
        return Detector.from_files(
            self.files, self.where, precision=precision or self.precision, threads=threads, runtime=runtime
        )

    def write(self, folder: Path) -> Path:
        """Write manifest and judged model into a new folder, for another process to measure; returns the folder."""
        folder.mkdir()
        for name in (MANIFEST_FILE, MODEL_FILES[self.precision]):
            (folder / name).write_bytes(self.files[name])
        return folder

    def to_dict(self) -> dict[str, str]:
        """Return how reports name it."""
        named = {
            "name": self.manifest.name,
            "version": self.manifest.version,
            "identity": self.identity,
            "precision": self.precision,
        }
        return named if self.origin is None else {**named, "origin": self.origin}


def load_entrant(bundle: Path) -> Entrant:
    """Read a bundle, a directory or a `.tar`, and check its sums.

    Raises:
        BundleError: it is none, it was altered, or it lacks its default model.
    """
    files = read_bundle(bundle)
    manifest = manifest_of(files, str(bundle))
    check_sums(files, str(bundle))
    return entrant_of(manifest, files, str(bundle))


def entrant_of(manifest: Manifest, files: Files, where: str) -> Entrant:
    """Return models that are still being released as an entrant.

    Args:
        manifest: as the bundle will have it.
        files: model files by name; that of the manifest is put in.
        where: name in messages.

    Raises:
        BundleError: its default model is not among them.
    """
    if MODEL_FILES[manifest.default_precision] not in files:
        raise BundleError(
            f"{where}: has no {MODEL_FILES[manifest.default_precision]}, which its manifest makes the default"
        )
    return Entrant(manifest, {**files, MANIFEST_FILE: manifest.to_json().encode()}, where)
