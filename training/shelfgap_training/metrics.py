"""Detection metrics: average precision as COCO defines it, and precision, recall, F1 at an operating point."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.postprocess import Detections

from shelfgap_training.matching import MATCH_IOU, match_boxes, overlaps


class Truth(NamedTuple):
    """The labelled boxes of one image."""

    boxes_xyxy: NDArray[np.float32]  # (N, 4) absolute pixels
    class_ids: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class AveragePrecision:
    """COCO average precision, at most 100 detections an image, all box sizes; NaN where nothing is labelled."""

    ap50: float
    ap50_95: float
    by_class: Mapping[int, tuple[float, float]]  # class id -> (ap50, ap50_95)


def average_precision(truths: Sequence[Truth], detections: Sequence[Detections], num_classes: int) -> AveragePrecision:
    """Compute COCO AP at IoU 0.5 and over 0.5:0.05:0.95, the mean over classes that have boxes.

    Args:
        truths: per image the labelled boxes, absolute pixels.
        detections: per image the detections, same order, down to a score of about 0.
        num_classes: class ids run from 0 to num_classes - 1.

    Raises:
        ValueError: the sequences differ in length.

    Source: COCO evaluation, https://cocodataset.org/#detection-eval, computed by faster-coco-eval.
    """
    if len(truths) != len(detections):
        raise ValueError(f"got {len(truths)} truths and {len(detections)} detections")
    labelled = sorted({int(c) for truth in truths for c in truth.class_ids})
    found = sum(len(d.scores) for d in detections)
    if not labelled or not found:
        value = 0.0 if labelled else float("nan")
        return AveragePrecision(value, value, dict.fromkeys(labelled, (value, value)))

    from faster_coco_eval import COCO, COCOeval_faster

    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # it announces every step
    coco = COCO(_coco_dict(truths, num_classes))
    evaluation = COCOeval_faster(coco, coco.loadRes(_coco_results(detections)), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # precision: (T ious, R recalls, K classes, A areas, M detection limits); -1 where undefined
    table = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = {k: (float(table[0, :, k].mean()), float(table[:, :, k].mean())) for k in labelled}
    return AveragePrecision(
        ap50=float(np.mean([v[0] for v in by_class.values()])),
        ap50_95=float(np.mean([v[1] for v in by_class.values()])),
        by_class=by_class,
    )


class Matches(NamedTuple):
    """Every detection of one class over all images, best score first, and whether it found a box."""

    scores: NDArray[np.float32]  # (M,)
    is_hit: NDArray[np.bool_]  # (M,)
    boxes: int  # labelled boxes of the class


def match_class(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_id: int,
    iou_threshold: float = MATCH_IOU,
) -> Matches:
    """Assign detections of one class to boxes: best score first, each box at most once, best overlap first."""
    scores: list[NDArray[np.float32]] = []
    hits: list[NDArray[np.bool_]] = []
    boxes = 0
    for truth, found in zip(truths, detections, strict=True):
        true_boxes = truth.boxes_xyxy[truth.class_ids == class_id]
        mine = found.class_ids == class_id
        order = np.argsort(-found.scores[mine], kind="stable")
        boxes += len(true_boxes)
        scores.append(found.scores[mine][order])
        overlap = overlaps(found.boxes_xyxy[mine][order], true_boxes)
        hits.append(match_boxes(overlap, np.array([iou_threshold]))[0] >= 0)
    all_scores = np.concatenate([*scores, np.empty(0, np.float32)])
    all_hits = np.concatenate([*hits, np.empty(0, np.bool_)])
    order = np.argsort(-all_scores, kind="stable")
    return Matches(all_scores[order].astype(np.float32), all_hits[order], boxes)


@dataclass(frozen=True)
class OperatingPoint:
    """Counts at a score threshold, and the rates that follow; a rate without a denominator is 0."""

    true_positives: int
    detections: int
    boxes: int

    @property
    def precision(self) -> float:
        """Share of detections that found a box."""
        return self.true_positives / self.detections if self.detections else 0.0

    @property
    def recall(self) -> float:
        """Share of boxes found."""
        return self.true_positives / self.boxes if self.boxes else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.detections + self.boxes
        return 2 * self.true_positives / total if total else 0.0

    def __add__(self, other: OperatingPoint) -> OperatingPoint:
        return OperatingPoint(
            self.true_positives + other.true_positives,
            self.detections + other.detections,
            self.boxes + other.boxes,
        )


def at_threshold(matches: Matches, score_threshold: float) -> OperatingPoint:
    """Count the hits among detections of at least `score_threshold`."""
    kept = matches.scores >= score_threshold
    return OperatingPoint(int(matches.is_hit[kept].sum()), int(kept.sum()), matches.boxes)


def best_f1_threshold(matches: Matches, fallback: float = 0.5) -> float:
    """Find the score threshold of the highest F1; `fallback` when no detection ever hits.

    The threshold lies midway to the next lower score, so that rounding in another runtime keeps the choice.
    """
    hits = np.cumsum(matches.is_hit)
    if not len(hits) or hits[-1] == 0:
        return fallback
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + matches.boxes)
    last_of_score = np.append(matches.scores[1:] != matches.scores[:-1], True)  # ties stay together
    best = int(np.argmax(np.where(last_of_score, f1, -1.0)))
    below = float(matches.scores[best + 1]) if best + 1 < len(hits) else 0.0
    return (float(matches.scores[best]) + below) / 2


def _coco_dict(truths: Sequence[Truth], num_classes: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, truth in enumerate(truths, start=1):
        for box, class_id in zip(truth.boxes_xyxy.astype(float), truth.class_ids, strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(class_id),
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": image_id} for image_id in range(1, len(truths) + 1)],
        "annotations": annotations,
        "categories": [{"id": k, "name": str(k)} for k in range(num_classes)],
    }


def _coco_results(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": int(class_id),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": float(score),
        }
        for image_id, found in enumerate(detections, start=1)
        for box, score, class_id in zip(found.boxes_xyxy.astype(float), found.scores, found.class_ids, strict=True)
    ]
