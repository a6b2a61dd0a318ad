"""Score a detector on labelled images through the edge runtime: the figures are those of the device."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from shelfgap_datasets.frames import read_frame
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.schema import DatasetError, ImageRecord
from shelfgap_edge.errors import FrameError
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector

from shelfgap_training.metrics import (
    OperatingPoint,
    Truth,
    at_threshold,
    average_precision,
    best_f1_threshold,
    match_class,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredImages:
    """Labelled boxes and all candidates of the same images, by class id of `classes`."""

    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    truths: tuple[Truth, ...]
    detections: tuple[Detections, ...]
    unreadable: tuple[str, ...]  # file names that the runtime refused; in no figure


def score_images(
    detector: Detector, root: Path, records: Sequence[ImageRecord], annotated_classes: Sequence[str]
) -> ScoredImages:
    """Run a detector on images of a dataset directory and keep every candidate.

    Args:
        detector: any bundle's detector.
        root: dataset directory.
        records: the images.
        annotated_classes: classes labelled in the dataset; what the detector says of others is left out.

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
    for record in records:
        try:
            found = detector.detect(read_frame(read_picture(root, record.file_name)), score_thresholds=0.0)
        except (FrameError, OSError) as error:
            logger.warning("%s: left out of the evaluation: %s", record.file_name, error)
            unreadable.append(record.file_name)
            continue
        ids = to_common[found.class_ids]
        known = ids >= 0
        boxes = [box for box in record.boxes if box.class_name in classes]
        truth = Truth(
            np.array([box.xyxy for box in boxes], np.float32).reshape(-1, 4),
            np.array([classes.index(box.class_name) for box in boxes], np.int64),
        )
        scored.append((record, truth, Detections(found.boxes_xyxy[known], found.scores[known], ids[known])))
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


def summarise(scored: ScoredImages, score_thresholds: Mapping[str, float], precision_mode: str) -> dict[str, Any]:
    """Return the evaluation object.

    Args:
        scored: images, truths, candidates.
        score_thresholds: operating point by class name.
        precision_mode: "int8", "fp32" or "torch", as it will stand in the object.

    Returns:
        `ap50`, `ap50_95` (COCO, mean over the classes), `precision`, `recall`, `f1` (at IoU 0.5 and the operating
        point, all classes pooled), each `{"value", "low", "high"}` with a null interval; `images`, `boxes`,
        `precision_mode`, `score_thresholds`, `by_class` and `unreadable`. A value is null where nothing is
        labelled.
    """
    ap = average_precision(scored.truths, scored.detections, len(scored.classes))
    points = {
        name: at_threshold(match_class(scored.truths, scored.detections, class_id), score_thresholds[name])
        for class_id, name in enumerate(scored.classes)
    }
    pooled = sum(points.values(), OperatingPoint(0, 0, 0))
    return {
        "ap50": _figure(ap.ap50),
        "ap50_95": _figure(ap.ap50_95),
        "precision": _figure(pooled.precision),
        "recall": _figure(pooled.recall),
        "f1": _figure(pooled.f1),
        "images": len(scored.truths),
        "boxes": pooled.boxes,
        "precision_mode": precision_mode,
        "score_thresholds": {name: score_thresholds[name] for name in scored.classes},
        "by_class": {
            name: {
                "boxes": points[name].boxes,
                "ap50": _number(ap.by_class.get(class_id, (math.nan, math.nan))[0]),
                "ap50_95": _number(ap.by_class.get(class_id, (math.nan, math.nan))[1]),
                "precision": _number(points[name].precision),
                "recall": _number(points[name].recall),
                "f1": _number(points[name].f1),
            }
            for class_id, name in enumerate(scored.classes)
        },
        "unreadable": list(scored.unreadable),
    }


def _figure(value: float) -> dict[str, float | None]:
    return {"value": _number(value), "low": None, "high": None}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
