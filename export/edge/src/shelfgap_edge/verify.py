"""May this bundle run here? Its files untouched, its models giving here what they gave when built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfgap_edge.bundle import check_sums, compute_sums, read_bundle
from shelfgap_edge.contract import GOLDEN_FILE, RUNTIMES, SIGNATURE_FILE, Manifest
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.golden import GoldenResult, parse_golden, replay
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of

__all__ = ["VerifyReport", "check_sums", "compute_sums", "verify_bundle"]


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_bundle` found in a bundle whose files are intact."""

    bundle: str
    manifest: Manifest
    files: int
    precisions: tuple[str, ...]
    golden: tuple[GoldenResult, ...]
    runtime: str

    @property
    def passed(self) -> bool:
        """True if every golden frame passed."""
        return all(result.passed for result in self.golden)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dict."""
        return {
            "bundle": self.bundle,
            "name": self.manifest.name,
            "version": self.manifest.version,
            "format_version": self.manifest.format_version,
            "passed": self.passed,
            "runtime": self.runtime,
            "device_class": self.manifest.device_class,
            "files": self.files,
            "signature": "not checked",
            "precisions": list(self.precisions),
            "golden": [result.to_dict() for result in self.golden],
        }


def verify_bundle(bundle: Path, public_key: Path | None = None, *, runtime: str = RUNTIMES[0]) -> VerifyReport:
    """Verify a bundle: its files against `SHA256SUMS`, then its golden frames through each of its models.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        public_key: the key that must have signed it. Signatures are not checked in this version, so giving a
            key always fails rather than pretend.
        runtime: what shall run the models, see `RUNTIMES`.

    Returns:
        A report; `passed` is False when a model is off on a golden frame.

    Raises:
        BundleError: the bundle must not run: a file missing, altered or extra, an unknown version, a model
            that cannot be loaded or has no golden frame.
        MissingRuntimeError: the runtime is not installed.
    """
    where = str(bundle)
    files = read_bundle(bundle)
    if public_key is not None:
        if SIGNATURE_FILE not in files:
            raise BundleError(f"{where}: the bundle carries no signature, and one was asked for")
        raise BundleError(
            f"{where}: this version of shelfgap-edge cannot check signatures yet; upgrade it, or verify "
            "without a public key"
        )
    check_sums(files, where)
    manifest = manifest_of(files, where)
    precisions = precisions_of(files)
    # Without its default model a bundle cannot be used as it says of itself.
    detectors = {
        precision: Detector.from_files(files, where, precision=precision, runtime=runtime)
        for precision in dict.fromkeys((manifest.default_precision, *precisions))
    }
    frames = parse_golden(files, where)
    for precision in precisions:
        if all(frame.precision != precision for frame in frames):
            raise BundleError(f"{where}: {GOLDEN_FILE} has no frame for {precision}")
    results = []
    for frame in frames:
        if frame.precision not in detectors:
            raise BundleError(f"{where}: {GOLDEN_FILE}: {frame.file} is for {frame.precision}, which has no model")
        unknown = {item["class"] for item in frame.detections} - set(manifest.classes)
        if unknown:
            raise BundleError(f"{where}: {GOLDEN_FILE}: {frame.file}: no class {', '.join(sorted(unknown))}")
        try:
            results.append(replay(frame, files[frame.file], detectors[frame.precision]))
        except FrameError as error:
            raise BundleError(f"{where}: {frame.file}: {error}") from None
    return VerifyReport(where, manifest, len(files), precisions, tuple(results), runtime)
