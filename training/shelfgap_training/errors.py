"""What kind of mistakes a detector makes at its operating point: every detection and every box gets one kind.

Source: TIDE (Bolya et al. 2020, arXiv:2008.08115) for the kinds. Here a box answers for one detection at most, so that
the same number of boxes and of detections is loose, or wrongly named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.postprocess import Detections

from shelfgap_training.matching import MATCH_IOU, match_boxes, overlaps
from shelfgap_training.metrics import Truth

TOUCH_IOU = 0.1
"""Overlap from which a detection has to do with a box."""

DETECTION_KINDS = {
    "hit": "overlaps a box of its class by 0.5 or more, the surest to do so",
    "wrong class": "overlaps a box of another class by 0.5 or more, which nothing else found",
    "localisation": "overlaps a box of its class by 0.1 to 0.5, which nothing else found",
    "duplicate": "overlaps only boxes that another detection stands for",
    "background": "stands where nothing is labelled",
}
BOX_KINDS = {
    "found": "by a hit",
    "wrong class": "seen, and called something else",
    "localisation": "seen, by a detection that overlaps it by less than 0.5",
    "missed": "not seen",
}


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """The detections of an image above the operating point and its boxes, each with its kind."""

    detections: Detections
    detection_kinds: tuple[str, ...]
    box_kinds: tuple[str, ...]

    @property
    def mistakes(self) -> Counter[str]:
        """How many of each kind went wrong; a loose or wrongly named pair counts once."""
        wrong = Counter(kind for kind in self.detection_kinds if kind != "hit")
        wrong["missed"] = self.box_kinds.count("missed")
        return +wrong


def judge_image(truth: Truth, detections: Detections, score_thresholds: Sequence[float]) -> JudgedImage:
    """Give every detection above the operating point, and every box, its kind.

    Args:
        truth: labelled boxes.
        detections: of the same image.
        score_thresholds: operating point by class id.
    """
    above = np.flatnonzero(detections.scores >= np.array(score_thresholds, np.float32)[detections.class_ids])
    above = above[np.argsort(-detections.scores[above], kind="stable")]
    kept = Detections(detections.boxes_xyxy[above], detections.scores[above], detections.class_ids[above])
    overlap = overlaps(kept.boxes_xyxy, truth.boxes_xyxy)
    same = kept.class_ids[:, None] == truth.class_ids[None, :]
    detection_kinds = np.full(len(kept), "background", object)
    box_kinds = np.full(len(truth.boxes_xyxy), "missed", object)

    def pair(eligible: NDArray[np.bool_], least: float, kind: str, box_kind: str) -> None:
        free = (detection_kinds == "background")[:, None] & (box_kinds == "missed")[None, :]
        box_of = match_boxes(np.where(eligible & free, overlap, -1.0), np.array([least]))[0]
        detection_kinds[box_of >= 0] = kind
        box_kinds[box_of[box_of >= 0]] = box_kind

    pair(same, MATCH_IOU, "hit", "found")
    pair(~same, MATCH_IOU, "wrong class", "wrong class")
    pair(same, TOUCH_IOU, "localisation", "localisation")
    touches = (overlap >= np.where(same, TOUCH_IOU, MATCH_IOU)).any(1)  # what is left to touch is taken
    detection_kinds[touches & (detection_kinds == "background")] = "duplicate"
    return JudgedImage(kept, tuple(detection_kinds), tuple(box_kinds))


def count_errors(
    judged: Sequence[JudgedImage], truths: Sequence[Truth], classes: Sequence[str]
) -> dict[str, dict[str, dict[str, int]]]:
    """Return class -> `detections` and `boxes` -> kind -> count, detections by their class and boxes by theirs."""

    def counts(pairs: Counter[tuple[int, str]], class_id: int, kinds: Mapping[str, str]) -> dict[str, int]:
        return {kind: pairs[class_id, kind] for kind in kinds}

    detections: Counter[tuple[int, str]] = Counter()
    boxes: Counter[tuple[int, str]] = Counter()
    for image, truth in zip(judged, truths, strict=True):
        detections.update(zip(image.detections.class_ids.tolist(), image.detection_kinds, strict=True))
        boxes.update(zip(truth.class_ids.tolist(), image.box_kinds, strict=True))
    return {
        name: {
            "detections": counts(detections, class_id, DETECTION_KINDS),
            "boxes": counts(boxes, class_id, BOX_KINDS),
        }
        for class_id, name in enumerate(classes)
    }
