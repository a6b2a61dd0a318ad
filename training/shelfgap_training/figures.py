"""The figures of an evaluation, computed for many weightings of the images at once.

Matching is done once; a weighting that counts image i `w[i]` times then gives a figure in a few passes over arrays,
which is what the bootstrap needs. Weights are int64 (B, I): B weightings of I images; figures are float64 (B,), NaN
where nothing defines them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.postprocess import Detections

from shelfgap_training.matching import COCO_IOUS, match_boxes, overlaps
from shelfgap_training.metrics import Truth

Weights = NDArray[np.int64]
Values = NDArray[np.float64]

_RECALLS = np.linspace(0, 1, 101)
_MOST_DETECTIONS = 100  # of a class in an image, as COCO counts


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """All detections of one class, best score first, with their images; and the labelled boxes of each image."""

    scores: NDArray[np.float32]  # (M,), descending
    image: NDArray[np.int64]  # (M,)
    is_hit: NDArray[np.bool_]  # (10, M), at each of COCO_IOUS
    boxes: NDArray[np.int64]  # (I,)
    is_labelled: NDArray[np.bool_]  # (I,), so that no box means that there is none
    score_threshold: float | None  # operating point

    def of_images(self, chosen: NDArray[np.bool_]) -> ClassMatches:
        """Return the matches in some of the images, bool (I,), which are numbered anew."""
        kept = chosen[self.image]
        number = np.cumsum(chosen) - 1
        return replace(
            self,
            scores=self.scores[kept],
            image=number[self.image[kept]],
            is_hit=self.is_hit[:, kept],
            boxes=self.boxes[chosen],
            is_labelled=self.is_labelled[chosen],
        )

    def average_precision(self, weights: Weights, ious: slice = slice(None)) -> NDArray[np.float64]:
        """Return the average precision, float64 (B, T), at some of `COCO_IOUS`.

        Source: COCO evaluation, 101 recall levels (https://cocodataset.org/#detection-eval).
        """
        counted = weights[:, self.image]
        found = np.cumsum(counted, axis=1)
        boxes = weights @ self.boxes
        columns = []
        for is_hit in self.is_hit[ious]:
            at = np.flatnonzero(is_hit)  # between hits precision only falls, so hits alone shape the curve
            hits = np.cumsum(counted[:, at], axis=1)
            precision = hits / np.maximum(found[:, at], 1)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            reached = np.searchsorted(_RECALLS, hits / np.maximum(boxes, 1)[:, None], side="right")
            columns.append((np.diff(reached, prepend=0, axis=1) * envelope).sum(1) / len(_RECALLS))
        return np.where(boxes[:, None] > 0, np.stack(columns, axis=1), np.nan)

    def recall_at_precision(self, weights: Weights, least: float) -> Values:
        """Return the highest recall, at IoU 0.5, of a score threshold whose precision is `least` or more; 0 if none."""
        at = np.flatnonzero(self.is_hit[0])
        counted = weights[:, self.image]
        boxes = weights @ self.boxes
        last = np.searchsorted(-self.scores, -self.scores[at], side="right") - 1  # a threshold takes ties together
        hits = np.cumsum(counted[:, at], axis=1)[:, np.searchsorted(at, last, side="right") - 1]
        precision = hits / np.maximum(np.cumsum(counted, axis=1)[:, last], 1)
        recall = np.where(precision >= least, hits, 0).max(1, initial=0) / np.maximum(boxes, 1)
        return np.where(boxes > 0, recall, np.nan)

    def at_threshold(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the hits and the detections at the operating point in each image, each (I,).

        Raises:
            ValueError: no operating point was given.
        """
        if self.score_threshold is None:
            raise ValueError("a figure at the operating point needs class_matches(..., score_thresholds=...)")
        kept = self.scores >= self.score_threshold
        hits = np.bincount(self.image[kept & self.is_hit[0]], minlength=len(self.boxes))
        return hits, np.bincount(self.image[kept], minlength=len(self.boxes))


def class_matches(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    num_classes: int,
    score_thresholds: Sequence[float] | None = None,
    is_labelled: NDArray[np.bool_] | None = None,
) -> list[ClassMatches]:
    """Match detections to boxes at all of `COCO_IOUS`, class by class.

    Args:
        truths: per image the labelled boxes.
        detections: per image the detections, same order, down to a score of about 0; the best 100 a class count.
        num_classes: class ids run from 0 to num_classes - 1.
        score_thresholds: operating point of each class, for the figures that need one.
        is_labelled: bool (I, C), False where a class was not labelled in all of an image: such an image is no full
            shelf.
    """
    if is_labelled is None:
        is_labelled = np.ones((len(truths), num_classes), np.bool_)
    tables = []
    for class_id in range(num_classes):
        scores, hits, boxes = [np.zeros(0, np.float32)], [np.zeros((len(COCO_IOUS), 0), np.bool_)], []
        for truth, found in zip(truths, detections, strict=True):
            mine = np.flatnonzero(found.class_ids == class_id)
            mine = mine[np.argsort(-found.scores[mine], kind="stable")][:_MOST_DETECTIONS]
            labelled = truth.boxes_xyxy[truth.class_ids == class_id]
            scores.append(found.scores[mine])
            hits.append(match_boxes(overlaps(found.boxes_xyxy[mine], labelled), COCO_IOUS) >= 0)
            boxes.append(len(labelled))
        image = np.repeat(np.arange(len(boxes)), [len(part) for part in scores[1:]])
        all_scores = np.concatenate(scores)
        order = np.argsort(-all_scores, kind="stable")
        tables.append(
            ClassMatches(
                all_scores[order],
                image[order],
                np.concatenate(hits, axis=1)[:, order],
                np.array(boxes, np.int64),
                is_labelled[:, class_id],
                None if score_thresholds is None else score_thresholds[class_id],
            )
        )
    return tables


def _ap50(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    return _mean([table.average_precision(weights, slice(1))[:, 0] for table in tables])


def _ap50_95(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    return _mean([table.average_precision(weights).mean(1) for table in tables])


def _precision(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    hits, found, _ = _counts(tables, weights)
    return hits / np.maximum(found, 1)


def _recall(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    hits, _, boxes = _counts(tables, weights)
    return share(hits, boxes)


def _f1(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    hits, found, boxes = _counts(tables, weights)
    return share(2 * hits, np.where(boxes > 0, found + boxes, 0))


def _recall_at_p90(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    return _mean([table.recall_at_precision(weights, 0.9) for table in tables])


def _false_alarms_per_full_shelf(tables: Sequence[ClassMatches], weights: Weights) -> Values:
    found = np.sum([table.at_threshold()[1] for table in tables], axis=0)
    is_full = full_shelves(tables)
    return share(weights @ np.where(is_full, found, 0), weights @ is_full.astype(np.int64))


FIGURES: Mapping[str, Callable[[Sequence[ClassMatches], Weights], Values]] = {
    "ap50": _ap50,  # mean over the classes that have boxes
    "ap50_95": _ap50_95,
    "precision": _precision,  # at the operating point, classes pooled; 0 when nothing is found
    "recall": _recall,
    "f1": _f1,
    "recall_at_p90": _recall_at_p90,  # recall of the threshold with 0.9 precision, mean over the classes
    "false_alarms_per_full_shelf": _false_alarms_per_full_shelf,  # detections an image without any labelled box
}
"""Every figure by name: matches of each class and weights (B, I) -> float64 (B,)."""


def full_shelves(tables: Sequence[ClassMatches]) -> NDArray[np.bool_]:
    """Return which images are labelled with all the classes and hold no box, bool (I,)."""
    return np.asarray(np.all([table.is_labelled & (table.boxes == 0) for table in tables], axis=0))


def mean_ap50(tables: Sequence[ClassMatches], weights: NDArray[np.int64]) -> float:
    """Return AP50 for one weighting of the images, int64 (I,); NaN when no class has boxes."""
    return float(FIGURES["ap50"](tables, weights[None])[0])


def _counts(tables: Sequence[ClassMatches], weights: Weights) -> tuple[Weights, Weights, Weights]:
    """Return hits, detections and boxes at the operating point, all classes together, each (B,)."""
    points = [table.at_threshold() for table in tables]
    hits, found = (weights @ np.sum(part, axis=0) for part in zip(*points, strict=True))
    return hits, found, weights @ np.sum([table.boxes for table in tables], axis=0)


def share(part: NDArray[Any], whole: NDArray[np.int64]) -> Values:
    """Return part of whole, element by element; NaN where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: Sequence[Values]) -> Values:
    """Return the mean over those that are defined; NaN where none is."""
    stacked = np.stack(values)
    return share(np.nan_to_num(stacked).sum(0), (~np.isnan(stacked)).sum(0))
