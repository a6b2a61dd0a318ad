"""May this bundle run here? Its files untouched, its models giving here what they gave when built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.contract import GOLDEN_FILE, RUNTIMES, Manifest
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.golden import GoldenResult, parse_golden, replay
from shelfgap_edge.precision import PrecisionProbe
from shelfgap_edge.runtime import Detector, faster, manifest_of, precisions_of

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_bundle` found in a bundle whose files are intact.

    Attributes:
        bundle: its path.
        manifest: its manifest.
        files: number of its files.
        signature: the id of the key that signed it, or "not checked".
        precisions: those that it has models for.
        golden: how each golden frame went.
        runtime: what ran the models.
        auto_precision: what `--precision auto` takes on this device.
        probe: what that was decided by; None where there is one model only.
    """

    bundle: str
    manifest: Manifest
    files: int
    signature: str
    precisions: tuple[str, ...]
    golden: tuple[GoldenResult, ...]
    runtime: str
    auto_precision: str
    probe: PrecisionProbe | None

    @property
    def passed(self) -> bool:
        """True if every golden frame passed."""
        return all(result.passed for result in self.golden)

    @property
    def failure(self) -> str | None:
        """How many golden frames are off, and by how much the first of them, in one line; None if all passed."""
        failed = [result for result in self.golden if not result.passed]
        if not failed:
            return None
        return f"{len(failed)} of {len(self.golden)} golden frames are off on this machine, the first: {failed[0]}"

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
            "signature": self.signature,
            "precisions": list(self.precisions),
            "auto_precision": self.auto_precision,
            "precision_probe": self.probe.to_dict() if self.probe else None,
            "golden": [result.to_dict() for result in self.golden],
        }


def verify_bundle(bundle: Path, keys: TrustedKeys | None = None, *, runtime: str = RUNTIMES[0]) -> VerifyReport:
    """Verify a bundle: its signature and its files, then its golden frames through each of its models.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        keys: one of them must have signed it (see `trust.load_keys`); None leaves a signature unchecked.
        runtime: what shall run the models, see `RUNTIMES`.

    Returns:
        A report; `passed` is False when a model is off on a golden frame.

    Raises:
        BundleError: the bundle must not run: a file missing, altered or extra, an unknown version, a model
            that cannot be loaded or has no golden frame.
        SignatureError: keys are given, and it has no signature or none that holds.
        MissingRuntimeError: the runtime is not installed.
    """
    where = str(bundle)
    admitted = admit_bundle(bundle, keys)
    files = admitted.files
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
    chosen = faster(*(detectors[precision] for precision in precisions))
    return VerifyReport(
        bundle=where,
        manifest=manifest,
        files=len(files),
        signature=admitted.signature,
        precisions=precisions,
        golden=tuple(results),
        runtime=runtime,
        auto_precision=str(chosen.precision),
        probe=chosen.probe,
    )
