"""Intervals by the bootstrap: how sure a difference in average precision is, when images of one scene go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.postprocess import Detections

from shelfgap_training.metrics import MATCH_IOU, Truth, match_class

_RECALLS = np.linspace(0, 1, 101)


class Interval(NamedTuple):
    """A figure and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassMatches:
    """All detections of one class, best score first, with their images; and the labelled boxes of each image."""

    is_hit: NDArray[np.bool_]  # (M,)
    image: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.int64]  # (I,)

    def ap50(self, weights: NDArray[np.int64]) -> float:
        """Return the average precision at IoU 0.5 when image i counts `weights[i]` times; NaN without a box.

        Source: COCO evaluation, 101 recall levels (https://cocodataset.org/#detection-eval).
        """
        boxes = int((self.boxes * weights).sum())
        if not boxes:
            return float("nan")
        counted = weights[self.image]
        hits, found = np.cumsum(self.is_hit * counted), np.cumsum(counted)
        precision = hits / np.maximum(found, 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(hits / boxes, _RECALLS, side="left")
        return float(np.where(at < len(envelope), np.append(envelope, 0.0)[np.minimum(at, len(envelope))], 0).mean())


def class_matches(truths: Sequence[Truth], detections: Sequence[Detections], num_classes: int) -> list[ClassMatches]:
    """Match detections to boxes, class by class, as `metrics.match_class` does."""
    tables = []
    for class_id in range(num_classes):
        parts = [match_class([t], [d], class_id, MATCH_IOU) for t, d in zip(truths, detections, strict=True)]
        scores = np.concatenate([part.scores for part in parts])
        image = np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])
        order = np.argsort(-scores, kind="stable")
        hits = np.concatenate([part.is_hit for part in parts])
        tables.append(ClassMatches(hits[order], image[order], np.array([part.boxes for part in parts])))
    return tables


def mean_ap50(tables: Sequence[ClassMatches], weights: NDArray[np.int64]) -> float:
    """Return AP50, the mean over the classes that have boxes; NaN when none has."""
    values = [value for table in tables if not np.isnan(value := table.ap50(weights))]
    return float(np.mean(values)) if values else float("nan")


def paired_difference(
    candidate: Sequence[Sequence[ClassMatches]],
    reference: Sequence[Sequence[ClassMatches]],
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return AP50 of the candidate minus that of the reference, with a percentile interval.

    Both are scored on the same images; whole clusters are drawn with replacement, the same for both.

    Args:
        candidate: runs of one recipe (one, or a run a seed, whose mean counts), each a table a class.
        reference: runs of the other.
        clusters: name of the scene or store of each image.
        resamples: draws.
        confidence: of the interval, 0 to 1.
        seed: of the draws.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 8 (clusters).
    """
    _, cluster_of = np.unique(np.array(clusters), return_inverse=True)
    count = int(cluster_of.max()) + 1
    rng = np.random.default_rng(seed)
    once = np.ones(len(clusters), np.int64)

    def difference(weights: NDArray[np.int64]) -> float:
        ours, theirs = (np.mean([mean_ap50(run, weights) for run in runs]) for runs in (candidate, reference))
        return float(ours - theirs)

    value = difference(once)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[cluster_of]
        drawn.append(difference(weights))
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
