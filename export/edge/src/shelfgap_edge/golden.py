"""Golden frames: pictures in the bundle and what a device must find in them, within a tolerance.

`golden/expected.json`::

    {
      "schema_version": 1,
      "frames": [
        {
          "file": "golden/shelf-1.jpg",            path below the bundle's root, a JPEG
          "precision": "int8",                     the model it holds for; one entry a precision
          "tolerance": {"box_px": 1.0, "score": 0.02},
          "detections": [{"class": "gap", "score": 0.91, "box_xyxy": [10.5, 20.0, 80.25, 96.0]}]
        }
      ]
    }

Detections are those at the bundle's own thresholds, boxes in pixels of the displayed frame. A score within
the tolerance of its threshold may fall on either side of it on another processor; that is no failure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shelfgap_edge.bundle import Files
from shelfgap_edge.contract import GOLDEN_DIR, GOLDEN_FILE, PRECISIONS, Manifest
from shelfgap_edge.errors import BundleError
from shelfgap_edge.geometry import iou_matrix
from shelfgap_edge.postprocess import DetectionDict, Detections
from shelfgap_edge.runtime import Detector

SCHEMA_VERSION = 1
_MIN_PAIR_IOU = 0.5  # a box further off is another object, not the same one off by some pixels


@dataclass(frozen=True)
class Tolerance:
    """How far a device may be off: each box edge in pixels of the frame, and the score."""

    box_px: float = 1.0
    score: float = 0.02


@dataclass(frozen=True)
class GoldenFrame:
    """One golden frame, one precision, and what must be found."""

    file: str
    precision: str
    tolerance: Tolerance
    detections: tuple[DetectionDict, ...]


@dataclass(frozen=True)
class GoldenResult:
    """How one golden frame went.

    Attributes:
        file, precision: the entry.
        passed: nothing missing or unexpected, and every deviation within the tolerance.
        expected: number of detections expected.
        missing: expected detections that no detection of the same class comes near.
        unexpected: detections beyond the tolerance around their threshold that nothing expected comes near.
        max_box_error_px: largest deviation of a box edge among the pairs; 0 without pairs.
        max_score_error: largest deviation of a score among the pairs; 0 without pairs.
        tolerance: what is allowed.
    """

    file: str
    precision: str
    passed: bool
    expected: int
    missing: int
    unexpected: int
    max_box_error_px: float
    max_score_error: float
    tolerance: Tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-ready dict."""
        return asdict(self)

    def __str__(self) -> str:
        """Return by how much it is off, in one line."""
        return (
            f"{self.precision}  {self.file}: {self.expected} expected, {self.missing} missing, "
            f"{self.unexpected} unexpected, box off by {self.max_box_error_px:.2f} px "
            f"(allowed {self.tolerance.box_px:g}), score by {self.max_score_error:.4f} "
            f"(allowed {self.tolerance.score:g})"
        )


def golden_frame(detector: Detector, jpeg: bytes, *, file: str, precision: str, tolerance: Tolerance) -> GoldenFrame:
    """Record what a detector finds in a frame now, as what devices must find later.

    Args:
        detector: the detector of that precision.
        jpeg: the bytes of the golden frame.
        file: where the frame will lie in the bundle, `golden/NAME.jpg`.
        precision: "int8" or "fp32".
        tolerance: how far devices may be off.

    Raises:
        FrameError: the frame cannot be decoded.
    """
    found = detector.detect(jpeg).to_dicts(detector.manifest.classes)
    return GoldenFrame(file, precision, tolerance, tuple(found))


def golden_json(frames: Iterable[GoldenFrame]) -> str:
    """Return the text of `golden/expected.json`."""
    content = {"schema_version": SCHEMA_VERSION, "frames": [asdict(frame) for frame in frames]}
    return json.dumps(content, indent=2) + "\n"


def parse_golden(files: Files, where: str) -> tuple[GoldenFrame, ...]:
    """Return the golden frames of a bundle.

    Args:
        files: the files of the bundle.
        where: the bundle's name in messages.

    Raises:
        BundleError: none there, not of the schema, or a picture missing.
    """
    where = f"{where}: {GOLDEN_FILE}"
    if GOLDEN_FILE not in files:
        raise BundleError(f"{where} is missing, so the outputs cannot be verified; build the bundle again")
    try:
        raw = json.loads(files[GOLDEN_FILE])
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error})") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(f"{where}: schema_version {version!r} is not known here (expected {SCHEMA_VERSION})")
    entries = raw.get("frames")
    if not isinstance(entries, list) or not entries:
        raise BundleError(f"{where}: frames must be a list that is not empty")
    frames = []
    for row, entry in enumerate(entries):
        try:
            frames.append(_parse_frame(entry))
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"{where}: frames[{row}] is not of the schema ({error!r})") from None
        if frames[-1].file not in files or not frames[-1].file.startswith(f"{GOLDEN_DIR}/"):
            raise BundleError(f"{where}: frames[{row}]: no picture {frames[-1].file!r} in the bundle")
    return tuple(frames)


def golden_pictures(files: Files, where: str) -> list[bytes]:
    """Return the JPEG bytes of a bundle's golden frames, each once.

    Raises:
        BundleError: see `parse_golden`.
    """
    return [files[name] for name in dict.fromkeys(golden.file for golden in parse_golden(files, where))]


def replay(golden: GoldenFrame, jpeg: bytes, detector: Detector) -> GoldenResult:
    """Run a detector on a golden frame and compare.

    Raises:
        FrameError: the golden frame cannot be decoded.
    """
    manifest, slack = detector.manifest, golden.tolerance.score
    lowered = {name: max(0.0, value - slack) for name, value in manifest.score_thresholds.items()}
    return compare(golden, detector.detect(jpeg, score_thresholds=lowered), manifest)


def compare(golden: GoldenFrame, actual: Detections, manifest: Manifest) -> GoldenResult:
    """Pair what was found with what was expected, nearest first, and say how far they are apart.

    Args:
        golden: the expectation.
        actual: detections at thresholds lowered by the score tolerance (see `replay`).
        manifest: the bundle's manifest.
    """
    tolerance, classes = golden.tolerance, manifest.classes
    wanted = np.array([item["box_xyxy"] for item in golden.detections], dtype=np.float32).reshape(-1, 4)
    wanted_ids = np.array([classes.index(item["class"]) for item in golden.detections], dtype=np.int64)
    distance_px = np.abs(wanted[:, None] - actual.boxes_xyxy[None]).max(axis=2, initial=0.0)
    near = (distance_px <= tolerance.box_px) | (iou_matrix(wanted, actual.boxes_xyxy) >= _MIN_PAIR_IOU)
    near &= wanted_ids[:, None] == actual.class_ids[None]

    pairs: dict[int, int] = {}
    for index in np.argsort(distance_px, axis=None, kind="stable"):
        row, column = divmod(int(index), len(actual))
        if near[row, column] and row not in pairs and column not in pairs.values():
            pairs[row] = column
    box_errors_px = [float(distance_px[row, column]) for row, column in pairs.items()]
    score_errors = [
        abs(golden.detections[row]["score"] - float(actual.scores[column])) for row, column in pairs.items()
    ]
    # A detection so near its threshold that the other side would be right too is not expected, nor a failure.
    clear = [
        column
        for column, (name, score) in enumerate(zip(actual.class_names(classes), actual.scores, strict=True))
        if score >= manifest.score_thresholds[name] + tolerance.score
    ]
    unexpected = len(set(clear) - set(pairs.values()))
    missing = len(wanted) - len(pairs)
    max_box_error_px, max_score_error = max(box_errors_px, default=0.0), max(score_errors, default=0.0)
    return GoldenResult(
        file=golden.file,
        precision=golden.precision,
        passed=(
            missing == 0
            and unexpected == 0
            and max_box_error_px <= tolerance.box_px
            and max_score_error <= tolerance.score
        ),
        expected=len(wanted),
        missing=missing,
        unexpected=unexpected,
        max_box_error_px=max_box_error_px,
        max_score_error=max_score_error,
        tolerance=tolerance,
    )


def _parse_frame(entry: Mapping[str, Any]) -> GoldenFrame:
    detections: list[DetectionDict] = []
    for item in entry["detections"]:
        x1, y1, x2, y2 = (_number(value) for value in item["box_xyxy"])
        detections.append(
            {"class": _text(item["class"]), "score": _number(item["score"]), "box_xyxy": [x1, y1, x2, y2]}
        )
    if entry["precision"] not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, got {entry['precision']!r}")
    tolerance = entry["tolerance"]
    return GoldenFrame(
        file=_text(entry["file"]),
        precision=entry["precision"],
        tolerance=Tolerance(box_px=_number(tolerance["box_px"]), score=_number(tolerance["score"])),
        detections=tuple(detections),
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, got {value!r}")
    return value
