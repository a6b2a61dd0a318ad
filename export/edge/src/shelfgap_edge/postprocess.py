"""From the model's outputs to detections in pixels of the displayed frame (rule version 1).

There is no suppression of overlaps here: the graph picks local peaks, each is one object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge import geometry

DetectionDict = TypedDict("DetectionDict", {"class": str, "score": float, "box_xyxy": list[float]})


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one frame, best score first.

    Attributes:
        boxes_xyxy: float32 (N, 4), absolute pixels of the displayed frame, half-open, clipped to it.
        scores: float32 (N,), in [0, 1], descending.
        class_ids: int64 (N,), index into the classes of the bundle.
    """

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def class_names(self, classes: Sequence[str]) -> list[str]:
        """Return the class name of each detection, given the classes of the bundle (`Manifest.classes`)."""
        return [classes[index] for index in self.class_ids]

    def to_dicts(self, classes: Sequence[str]) -> list[DetectionDict]:
        """Return one JSON-ready dict a detection: class name, score, box in pixels to 1/100."""
        return [
            {"class": name, "score": round(float(score), 4), "box_xyxy": [round(float(v), 2) for v in box]}
            for name, score, box in zip(self.class_names(classes), self.scores, self.boxes_xyxy, strict=True)
        ]


def thresholds_by_class(
    classes: Sequence[str], chosen: Mapping[str, float] | float | None, default: Mapping[str, float]
) -> NDArray[np.float32]:
    """Return one threshold a class, float32 (C,).

    Args:
        classes: class names in the order of their ids.
        chosen: one number for all, or numbers by class name; a class left out takes its default.
        default: a number for each class.

    Raises:
        ValueError: a number outside [0, 1] or a class that is not in `classes`.
    """
    if chosen is None:
        chosen = {}
    if not isinstance(chosen, Mapping):
        chosen = dict.fromkeys(classes, float(chosen))
    unknown = sorted(set(chosen) - set(classes))
    if unknown:
        raise ValueError(f"no class {', '.join(unknown)} in this bundle (it has {', '.join(classes)})")
    values = [float(chosen.get(name, default[name])) for name in classes]
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"score thresholds must be in [0, 1], got {values}")
    return np.array(values, dtype=np.float32)


def to_detections(
    boxes_xyxy_norm: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    *,
    thresholds: NDArray[np.float32],
    covered_xyxy: tuple[float, float, float, float],
    full_size: tuple[int, int],
) -> Detections:
    """Turn the outputs of the model into detections.

    Dropped are rows below the threshold of their class, with a number that is not finite, with a class id
    outside the range (a model may pad its rows so), or whose box is empty once clipped to the frame.

    Args:
        boxes_xyxy_norm: float32 (K, 4), fractions of the pixels that the model saw.
        scores: float32 (K,).
        class_ids: int64 (K,).
        thresholds: float32 (C,), by class id; a score equal to its threshold stays.
        covered_xyxy: the area of the frame that those pixels show (see `image.DecodedFrame`).
        full_size: (height, width) of the displayed frame.

    Returns:
        At most K detections, best score first; ties keep their order.
    """
    known = np.flatnonzero((class_ids >= 0) & (class_ids < len(thresholds)))
    # Few rows reach their threshold, none that is not a number does: the rest is spared the arithmetic.
    rows = known[scores[known] >= thresholds[class_ids[known]]]
    rows = rows[np.isfinite(boxes_xyxy_norm[rows]).all(axis=1) & np.isfinite(scores[rows])]
    boxes_xyxy_norm, scores, class_ids = boxes_xyxy_norm[rows], scores[rows], class_ids[rows]

    x1, y1, x2, y2 = covered_xyxy
    origin = np.array([x1, y1, x1, y1], dtype=np.float32)
    # Values far outside would overflow when scaled; one frame around is enough, as they are clipped anyway.
    near = np.clip(boxes_xyxy_norm, np.float32(-1), np.float32(2))
    boxes = geometry.clip(geometry.scale(near, (1, 1), (y2 - y1, x2 - x1)) + origin, full_size)

    keep = geometry.area(boxes) > 0
    boxes, scores, class_ids = boxes[keep], scores[keep], class_ids[keep]
    order = np.argsort(-scores, kind="stable")
    return Detections(
        boxes_xyxy=np.ascontiguousarray(boxes[order], dtype=np.float32),
        scores=np.ascontiguousarray(scores[order], dtype=np.float32),
        class_ids=np.ascontiguousarray(class_ids[order], dtype=np.int64),
    )
