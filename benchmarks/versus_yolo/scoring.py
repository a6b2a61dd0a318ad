"""The same metric code for every model: what it finds in the test scenes, and figures pooled over the folds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import ImageRecord
from shelfgap_edge.errors import FrameError
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_training.bootstrap import bootstrap, class_matches, clusters_of
from shelfgap_training.figures import FIGURES, ClassMatches, Weights
from shelfgap_training.looked_for import only_looked_for
from shelfgap_training.metrics import Truth

NAMES = ("ap50", "ap50_95")
_RESAMPLES, _CONFIDENCE, _SEED = 2000, 0.95, 0
logger = logging.getLogger(__name__)

Records = Sequence[ImageRecord]


def find_all(find: Callable[[bytes], Detections], root: Path, records: Records) -> list[Detections]:
    """Run a detector on pictures of a dataset directory; one that it refuses holds no detection."""
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    found = []
    for record in records:
        try:
            found.append(find(read_picture(root, record.file_name)))
        except (FrameError, ValueError) as error:
            logger.warning("%s: nothing found: %s", record.file_name, error)
            found.append(nothing)
    return found


def find_ours(detector: Detector) -> Callable[[bytes], Detections]:
    """Return what finds every candidate of the edge runtime in the bytes of a picture."""
    return lambda data: detector.detect(read_frame(data), score_thresholds=0.0)


def save_found(path: Path, found: Sequence[Detections]) -> None:
    """Write detections, image by image, as one file that is whole under its name."""
    partial = path.with_suffix(".tmp.npz")
    np.savez(
        partial,
        counts=np.array([len(one) for one in found], np.int64),
        boxes_xyxy=np.concatenate([one.boxes_xyxy for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        class_ids=np.concatenate([one.class_ids for one in found]),
    )
    partial.replace(path)


def load_found(path: Path) -> list[Detections]:
    """Read what `save_found` wrote."""
    with np.load(path) as file:
        ends = np.cumsum(file["counts"])[:-1]
        parts = [np.split(file[key], ends) for key in ("boxes_xyxy", "scores", "class_ids")]
    return [Detections(*one) for one in zip(*parts, strict=True)]


def matches_of(
    records: Sequence[Records], found: Sequence[Sequence[Detections]], classes: tuple[str, ...]
) -> list[list[ClassMatches]]:
    """Match the detections of each fold to the labelled boxes of its images."""
    runs = []
    for images, detections in zip(records, found, strict=True):
        known = [image.of_classes(classes) for image in images]
        truths = [Truth(image.boxes_xyxy(), image.class_ids(classes)) for image in known]
        judged = [only_looked_for(*pair, classes) for pair in zip(detections, images, strict=True)]
        runs.append(class_matches(truths, judged, len(classes)))
    return runs


def figures_of(
    records: Sequence[Records], found: Sequence[Sequence[Detections]], classes: tuple[str, ...]
) -> dict[str, float]:
    """Return the mean over folds of each figure of `NAMES`."""
    runs = matches_of(records, found, classes)
    once = [np.ones((1, len(images)), np.int64) for images in records]
    return {
        name: float(np.mean([FIGURES[name](run, weights)[0] for run, weights in zip(runs, once, strict=True)]))
        for name in NAMES
    }


def intervals_of(
    records: Sequence[Records], found: Sequence[Sequence[Detections]], classes: tuple[str, ...]
) -> dict[str, dict[str, float | None]]:
    """Return each figure, the mean over folds, with its interval from draws of whole scenes over all folds."""
    runs = matches_of(records, found, classes)
    ends = np.cumsum([len(images) for images in records])
    places = [slice(int(end) - len(images), int(end)) for end, images in zip(ends, records, strict=True)]

    def values(weights: Weights) -> NDArray[np.float64]:
        rows = [
            [FIGURES[name](run, weights[:, place]) for run, place in zip(runs, places, strict=True)] for name in NAMES
        ]
        return np.asarray(np.mean(rows, axis=1), np.float64)

    clusters = [name for images in records for name in clusters_of(images)]
    drawn = bootstrap(values, clusters, resamples=_RESAMPLES, confidence=_CONFIDENCE, seed=_SEED)
    return {name: interval.to_dict() for name, interval in zip(NAMES, drawn, strict=True)}
