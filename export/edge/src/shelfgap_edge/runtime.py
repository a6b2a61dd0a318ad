"""The detector: a verified bundle in memory, frames in, detections out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.admission import UNCHECKED, admit_bundle
from shelfgap_edge.bundle import Files
from shelfgap_edge.contract import AUTO, MANIFEST_FILE, MODEL_FILES, PRECISIONS, RUNTIMES, Manifest, parse_manifest
from shelfgap_edge.errors import BundleError
from shelfgap_edge.image import DecodedFrame, decode_jpeg, frame_from_array, reduce_frame
from shelfgap_edge.postprocess import Detections, thresholds_by_class, to_detections
from shelfgap_edge.precision import PrecisionProbe, probe_precision
from shelfgap_edge.session import first_line, open_session

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys

Frame = bytes | bytearray | memoryview | NDArray[np.uint8]
Thresholds = Mapping[str, float] | float | None


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the model said of one frame, before thresholds."""

    frame: DecodedFrame
    boxes_xyxy_norm: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


class Detector:
    """Finds gaps in frames with one model of a bundle. Not verified here: see `Detector.load`.

    Args:
        manifest: the bundle's manifest.
        model: ONNX bytes, or the path of an ONNX file.
        threads: threads within one operator; operators run one after another.
        runtime: one of `RUNTIMES`.

    Attributes:
        manifest, runtime: as given.
        precision: "int8" or "fp32" of a detector that was loaded from a bundle, else None.
        probe: what `precision="auto"` measured, else None.
        signature: the id of the key that signed the bundle, or "not checked".

    Raises:
        BundleError: the model cannot be loaded, or its inputs and outputs are not those of the contract.
        MissingRuntimeError: the runtime is not installed.
    """

    def __init__(
        self, manifest: Manifest, model: bytes | Path, *, threads: int = 1, runtime: str = RUNTIMES[0]
    ) -> None:
        self.manifest = manifest
        self.runtime = runtime
        self.precision: str | None = None
        self.probe: PrecisionProbe | None = None
        self.signature = UNCHECKED
        self._default_thresholds = thresholds_by_class(manifest.classes, None, manifest.score_thresholds)
        self._session = open_session(runtime, model if isinstance(model, bytes) else _read_model(model), threads)

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        *,
        precision: str | None = None,
        threads: int = 1,
        runtime: str = RUNTIMES[0],
        verify: bool = True,
        keys: TrustedKeys | None = None,
    ) -> Detector:
        """Load a detector from a bundle directory or a `.tar` of one.

        The files are read once; the bytes that were checked are the bytes that run.

        Args:
            bundle: path of the bundle.
            precision: "int8" or "fp32"; None for the bundle's default; "auto" for INT8 unless float is faster on
                this device, measured in at most some seconds (see `Detector.probe`).
            threads: threads within one operator.
            runtime: "onnxruntime", or "openvino" where the extra is installed.
            verify: False skips the checksums (for a bundle that is being built).
            keys: one of them must have signed the bundle (see `trust.load_keys`); None leaves that unchecked.

        Raises:
            BundleError: the bundle is incomplete, altered, of an unknown version or has no such model.
            SignatureError: keys are given, and the bundle has no signature or none that holds.
            MissingRuntimeError: the runtime is not installed.
        """
        path = Path(bundle)
        admitted = admit_bundle(path, keys, sums=verify)
        detector = cls.from_files(admitted.files, str(path), precision=precision, threads=threads, runtime=runtime)
        detector.signature = admitted.signature
        return detector

    @classmethod
    def from_files(
        cls,
        files: Files,
        where: str,
        *,
        precision: str | None = None,
        threads: int = 1,
        runtime: str = RUNTIMES[0],
    ) -> Detector:
        """Load a detector from the files of a bundle in memory, which the caller has verified.

        Raises:
            BundleError: no manifest or no such model, or one of them is wrong.
            MissingRuntimeError: the runtime is not installed.
        """
        manifest = manifest_of(files, where)
        precision = precision or manifest.default_precision
        if precision == AUTO:
            offered = precisions_of(files) or (manifest.default_precision,)
            detectors = [
                cls.from_files(files, where, precision=name, threads=threads, runtime=runtime) for name in offered
            ]
            return faster(*detectors)
        if precision not in PRECISIONS:
            raise BundleError(f"{where}: precision must be {', '.join(PRECISIONS)} or {AUTO}, got {precision!r}")
        name = MODEL_FILES[precision]
        if name not in files:
            raise BundleError(f"{where}: has no {name}; it offers {' and '.join(precisions_of(files)) or 'none'}")
        try:
            detector = cls(manifest, files[name], threads=threads, runtime=runtime)
        except BundleError as error:
            raise BundleError(f"{where}: {name}: {error}") from None
        detector.precision = precision
        return detector

    def detect(self, frame: Frame, *, score_thresholds: Thresholds = None) -> Detections:
        """Find gaps in one frame.

        Args:
            frame: the bytes of a JPEG, or uint8 (height, width, 3) RGB of any size.
            score_thresholds: one number for all classes or numbers by class; None for the bundle's own.
                0 gives every candidate, as evaluation needs.

        Returns:
            Detections in pixels of the frame as displayed; none is a valid answer.

        Raises:
            FrameError: the frame cannot be decoded or has no usable pixels.
            BundleError: the model failed on it.
            ValueError: a threshold outside [0, 1] or of an unknown class.
        """
        candidates = self.infer(self.preprocess(self.decode(frame)))
        return self.postprocess(candidates, score_thresholds=score_thresholds)

    def stages(self) -> dict[str, Callable[[Any], Any]]:
        """Return the steps of `detect` by name, in order; each takes what the one before returned."""
        return {
            "decode": self.decode,
            "preprocess": self.preprocess,
            "inference": self.infer,
            "postprocess": self.postprocess,
        }

    def decode(self, frame: Frame) -> DecodedFrame:
        """Decode a JPEG at the smallest useful size, or check an array (see `image`)."""
        if isinstance(frame, bytes | bytearray | memoryview):
            return decode_jpeg(bytes(frame), self.manifest.input_size)
        return frame_from_array(frame)

    def preprocess(self, frame: DecodedFrame) -> DecodedFrame:
        """Average a very large frame down, so that the resize in the graph does not alias.

        The model may do that itself for frames of some sizes: those it gets as they are.
        """
        if frame.pixels.shape[:2] in self._session.whole_frames:
            return frame
        return reduce_frame(frame, self.manifest.input_size)

    def infer(self, frame: DecodedFrame) -> Candidates:
        """Run the model on the pixels of a frame."""
        try:
            boxes, scores, class_ids = self._session.run(frame.pixels)
        except Exception as error:  # onnxruntime raises its own types, all derived from Exception alone
            raise BundleError(
                f"the model failed on a frame of shape {frame.pixels.shape}: {first_line(error)}"
            ) from None
        if not (boxes.shape == (len(scores), 4) and len(scores) == len(class_ids)):
            raise BundleError(
                f"the model gave boxes {boxes.shape}, scores {scores.shape}, classes {class_ids.shape}; "
                "expected (K, 4), (K,), (K,)"
            )
        return Candidates(frame, boxes, scores, class_ids)

    def postprocess(self, candidates: Candidates, *, score_thresholds: Thresholds = None) -> Detections:
        """Apply thresholds and put the boxes into pixels of the displayed frame."""
        thresholds = self._default_thresholds
        if score_thresholds is not None:
            thresholds = thresholds_by_class(self.manifest.classes, score_thresholds, self.manifest.score_thresholds)
        return to_detections(
            candidates.boxes_xyxy_norm,
            candidates.scores,
            candidates.class_ids,
            thresholds=thresholds,
            covered_xyxy=candidates.frame.covered_xyxy,
            full_size=candidates.frame.full_size,
        )


def manifest_of(files: Files, where: str) -> Manifest:
    """Return the manifest among the files of a bundle.

    Raises:
        BundleError: it is missing or wrong.
    """
    if MANIFEST_FILE not in files:
        raise BundleError(f"{where}: no {MANIFEST_FILE} in it, this is no bundle")
    try:
        text = files[MANIFEST_FILE].decode("utf-8")
    except UnicodeDecodeError:
        raise BundleError(f"{where}: {MANIFEST_FILE} is not UTF-8 text") from None
    return parse_manifest(text, where=f"{where}: {MANIFEST_FILE}")


def precisions_of(files: Files) -> tuple[str, ...]:
    """Return the precisions that a bundle has a model for, in the order of `PRECISIONS`."""
    return tuple(precision for precision in PRECISIONS if MODEL_FILES[precision] in files)


def _read_model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: the model cannot be read ({error.strerror})") from None


def faster(*detectors: Detector) -> Detector:
    """Return the only detector, or the one of (int8, fp32) that this device runs faster, with what was measured."""
    if len(detectors) == 1:
        return detectors[0]
    int8, fp32 = detectors
    noise = np.random.default_rng(0).integers(0, 256, (*int8.manifest.input_size, 3), np.uint8)
    frame = frame_from_array(noise)
    probe = probe_precision(lambda: int8.infer(frame), lambda: fp32.infer(frame))
    chosen = int8 if probe.precision == "int8" else fp32
    chosen.probe = probe
    return chosen
