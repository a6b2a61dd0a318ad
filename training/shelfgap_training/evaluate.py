"""Score a detector on labelled images through the edge runtime: the figures are those of the device."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import IGNORE, DatasetError, ImageRecord
from shelfgap_edge.errors import FrameError
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector

from shelfgap_training.bootstrap import Interval, bootstrap, clusters_of, paired_difference
from shelfgap_training.calibration import reliability
from shelfgap_training.errors import JudgedImage, count_errors, judge_image
from shelfgap_training.figures import FIGURES, ClassMatches, Weights, class_matches, full_shelves
from shelfgap_training.looked_for import only_looked_for
from shelfgap_training.metrics import Truth, average_precision, best_f1_threshold, match_class
from shelfgap_training.params import EvaluationParams
from shelfgap_training.slices import look_at, slice_figures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredImages:
    """Labelled boxes and all candidates of the same images, by class id of `classes`."""

    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    truths: tuple[Truth, ...]
    detections: tuple[Detections, ...]
    unreadable: tuple[str, ...]  # file names that the runtime refused; in no figure

    def matches(self, score_thresholds: Mapping[str, float]) -> list[ClassMatches]:
        """Return the matches of each class, with their operating points by class name."""
        points = [score_thresholds[name] for name in self.classes]
        # where stock is low that nobody scores, or a region says nothing, the shelf is not known to be full
        other = {"gap", "low", IGNORE}.difference(self.classes)
        known = [other.isdisjoint(box.class_name for box in record.boxes) for record in self.records]
        labelled = [
            [decides and record.is_labelled(name) for name in self.classes]
            for record, decides in zip(self.records, known, strict=True)
        ]
        return class_matches(self.truths, self.detections, len(self.classes), points, np.array(labelled, np.bool_))

    def judged(self, score_thresholds: Mapping[str, float]) -> list[JudgedImage]:
        """Return the kind of each box, and of each detection above its operating point, image by image."""
        points = [score_thresholds[name] for name in self.classes]
        return [judge_image(*pair, points) for pair in zip(self.truths, self.detections, strict=True)]


def score_images(
    detector: Detector,
    root: Path,
    records: Sequence[ImageRecord],
    annotated_classes: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> ScoredImages:
    """Run a detector on images of a dataset directory and keep every candidate.

    Args:
        detector: any bundle's detector.
        root: dataset directory.
        records: the images.
        annotated_classes: classes labelled in the dataset; what the detector says of others, or what the labels of a
            picture cannot judge (`only_looked_for`), is left out.
        progress: told how many images are done, and of how many.

    Raises:
        DatasetError: no image, no class in common, or no image that the runtime can read.
    """
    if not records:
        raise DatasetError(f"{root}: no image to score in this split; run: shelfgap data split {root}")
    ours = detector.manifest.classes
    classes = tuple(name for name in ours if name in annotated_classes)
    if not classes:
        raise DatasetError(
            f"{root}: labelled with {', '.join(annotated_classes)}, the detector knows {', '.join(ours)}: "
            "no class in common"
        )
    to_common = np.array([classes.index(name) if name in classes else -1 for name in ours])
    scored: list[tuple[ImageRecord, Truth, Detections]] = []
    unreadable: list[str] = []
    for number, record in enumerate(records, start=1):
        if progress is not None:
            progress(number, len(records))
        try:
            found = detector.detect(read_frame(read_picture(root, record.file_name)), score_thresholds=0.0)
        except (FrameError, OSError) as error:
            logger.warning("%s: left out of the evaluation: %s", record.file_name, error)
            unreadable.append(record.file_name)
            continue
        ids = to_common[found.class_ids]
        boxes = [box for box in record.boxes if box.class_name in classes]
        truth = Truth(
            np.array([box.xyxy for box in boxes], np.float32).reshape(-1, 4),
            np.array([classes.index(box.class_name) for box in boxes], np.int64),
        )
        common = Detections(found.boxes_xyxy, found.scores, ids)
        scored.append((record, truth, only_looked_for(common, record, classes)))
    if not scored:
        raise DatasetError(f"{root}: none of the {len(records)} images can be read")
    kept, truths, detections = zip(*scored, strict=True)
    return ScoredImages(classes, kept, truths, detections, tuple(unreadable))


def choose_thresholds(scored: ScoredImages) -> dict[str, float]:
    """Return the score threshold of the best F1 for each class."""
    return {
        name: best_f1_threshold(match_class(scored.truths, scored.detections, class_id))
        for class_id, name in enumerate(scored.classes)
    }


def summarise(
    scored: ScoredImages,
    score_thresholds: Mapping[str, float],
    precision_mode: str,
    params: EvaluationParams | None = None,
) -> dict[str, Any]:
    """Return the figures of an evaluation, each with its interval.

    Args:
        scored: images, truths, candidates.
        score_thresholds: operating point by class name.
        precision_mode: "int8", "fp32" or "torch", as it will stand in the object.
        params: how intervals are drawn; without it their bounds are null.

    Returns:
        Each of `figures.FIGURES` as `{"value", "low", "high"}`: `ap50`, `ap50_95` (COCO, mean over the classes),
        `precision`, `recall`, `f1` (at IoU 0.5 and the operating point, all classes pooled), `recall_at_p90`,
        `false_alarms_per_full_shelf`; `images`, `full_shelves` (images without a labelled box, nor a region that
        says nothing), `groups`, `boxes`, `precision_mode`, `score_thresholds`, `by_class` (the same figures and
        `boxes`) and `unreadable`. A value is null where nothing is labelled that could define it, bounds also where all
        images are of one group. Full shelves of a class are those without a box of it.
    """
    tables = scored.matches(score_thresholds)
    parts = [tables, *([table] for table in tables)] if len(tables) > 1 else [tables]

    def values(weights: Weights) -> NDArray[np.float64]:
        return np.stack([figure(part, weights) for part in parts for figure in FIGURES.values()])

    intervals = iter(
        bootstrap(
            values,
            clusters_of(scored.records),
            resamples=params.resamples if params else 0,
            confidence=params.confidence if params else 0.95,
            seed=params.seed if params else 0,
        )
    )
    figures = [{name: next(intervals) for name in FIGURES} for _ in parts]
    ap = average_precision(scored.truths, scored.detections, len(scored.classes))
    boxes = [int(table.boxes.sum()) for table in tables]
    return {
        **_with_ap(figures[0], ap.ap50, ap.ap50_95),
        "images": len(scored.truths),
        "full_shelves": int(full_shelves(tables).sum()),
        "groups": len(set(clusters_of(scored.records))),
        "boxes": sum(boxes),
        "precision_mode": precision_mode,
        "score_thresholds": {name: score_thresholds[name] for name in scored.classes},
        "by_class": {
            name: {
                "boxes": boxes[class_id],
                **_with_ap(figures[class_id - len(tables)], *ap.by_class.get(class_id, (math.nan, math.nan))),
            }
            for class_id, name in enumerate(scored.classes)
        },
        "unreadable": list(scored.unreadable),
    }


def evaluate(
    root: Path,
    scored: ScoredImages,
    score_thresholds: Mapping[str, float],
    precision_mode: str,
    params: EvaluationParams,
) -> dict[str, Any]:
    """Return the whole evaluation object: the figures of `summarise`, and where and how the detector errs.

    Args:
        root: dataset directory, whose pictures are looked at for light and sharpness.
        scored: images, truths, candidates.
        score_thresholds: operating point by class name.
        precision_mode: as it will stand in the object.
        params: resampling, slices and bins.

    Returns:
        The object of `summarise`, and `slices` (see `slices`), `calibration` by class (see `calibration`) and `errors`
        by class (see `errors`).
    """
    tables, judged = scored.matches(score_thresholds), scored.judged(score_thresholds)
    looks = [look_at(root, record) for record in scored.records]
    return {
        **summarise(scored, score_thresholds, precision_mode, params),
        "slices": slice_figures(scored.records, scored.truths, judged, tables, looks, scored.classes, params),
        "calibration": {
            name: reliability(table, params.calibration) for name, table in zip(scored.classes, tables, strict=True)
        },
        "errors": count_errors(judged, scored.truths, scored.classes),
    }


def compare(
    candidate: ScoredImages, reference: ScoredImages, score_thresholds: Mapping[str, float], params: EvaluationParams
) -> dict[str, dict[str, float | None]]:
    """Return each figure of the candidate minus that of the reference on the same images, with its paired interval."""
    ours, theirs = candidate.matches(score_thresholds), reference.matches(score_thresholds)
    differences = {
        name: paired_difference(
            [ours],
            [theirs],
            clusters_of(candidate.records),
            figure=name,
            resamples=params.resamples,
            confidence=params.confidence,
            seed=params.seed,
        )
        for name in FIGURES
    }
    return {name: difference.to_dict() for name, difference in differences.items()}


def _with_ap(figures: Mapping[str, Interval], ap50: float, ap50_95: float) -> dict[str, dict[str, float | None]]:
    """Return figures for JSON, the average precision as faster-coco-eval has it."""
    exact = {"ap50": ap50, "ap50_95": ap50_95}
    return {name: drawn._replace(value=exact.get(name, drawn.value)).to_dict() for name, drawn in figures.items()}
