"""Figures on slices of the test images: where a detector is weak, when the mean says that it is good.

A slice of pictures (brightness, sharpness, store) has an AP50 of its own. A slice of boxes (size, place in the frame)
has a recall only, at the operating point: a false alarm has no true size or place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.schema import UNSTATED, ImageRecord

from shelfgap_training.bootstrap import UNKNOWN, Interval, bootstrap, clusters_of
from shelfgap_training.errors import JudgedImage
from shelfgap_training.figures import FIGURES, ClassMatches, Values, Weights, share
from shelfgap_training.metrics import Truth
from shelfgap_training.params import EvaluationParams

_LOOK_PX = (320, 320)
_THIRDS = (1 / 3, 2 / 3)
_ACROSS, _DOWN = ("left", "centre", "right"), ("top", "middle", "bottom")


class Look(NamedTuple):
    """What light and lens make of a picture."""

    mean_luma: float  # 0 to 255
    sharpness: float  # variance of the Laplacian at 320x320; low when blurred


def look_at(root: Path, record: ImageRecord) -> Look:
    """Measure a picture of a dataset directory.

    Source: Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548, for the variance of the Laplacian.
    """
    grey = cv2.cvtColor(load_picture(root, record.file_name, _LOOK_PX), cv2.COLOR_RGB2GRAY)
    return Look(float(grey.mean()), float(cv2.Laplacian(grey, cv2.CV_64F).var()))


_Partition = Mapping[str, NDArray[np.bool_]]  # name of a part -> what is in it


@dataclass(frozen=True, eq=False)
class _Slice:
    by: str
    name: str
    class_name: str | None  # None for all
    figure: Literal["ap50", "recall"]
    images: NDArray[np.bool_]  # (I,), those in it
    boxes: int
    values: Callable[[Weights], Values]


def slice_figures(
    records: Sequence[ImageRecord],
    truths: Sequence[Truth],
    judged: Sequence[JudgedImage],
    matches: Sequence[ClassMatches],
    looks: Sequence[Look],
    classes: Sequence[str],
    params: EvaluationParams,
) -> list[dict[str, Any]]:
    """Return one row a slice.

    Args:
        records: the images.
        truths: their labelled boxes, in pixels of the records.
        judged: their boxes and detections at the operating point.
        matches: of each class.
        looks: of each image.
        classes: names by class id.
        params: bounds and resampling.

    Returns:
        Rows with `by`, `slice`, `class` (null for all), `images`, `groups`, `boxes`, `figure` ("ap50" or "recall") and
        its `value`, `low`, `high`: null where the slice has fewer than `params.slices.min_boxes` boxes, the bounds
        also where it lies in one group.
    """
    bounds = params.slices
    stores = sorted({record.store or UNSTATED for record in records})
    pictures: dict[str, _Partition] = {
        "brightness": _cut([look.mean_luma for look in looks], bounds.mean_luma, _names(bounds.mean_luma)),
        "sharpness": _cut([look.sharpness for look in looks], bounds.sharpness, _names(bounds.sharpness)),
        "store": {name: np.array([(record.store or UNSTATED) == name for record in records]) for name in stores},
    }
    slices = [
        _of_pictures(by, name, chosen, matches)
        for by, partition in pictures.items()
        for name, chosen in partition.items()
    ]
    for class_id, class_name in enumerate(classes):
        boxes = _Boxes.of(records, truths, judged, class_id)
        areas = _names(bounds.area_percent, " % of the frame")
        placed: dict[str, _Partition] = {
            "area": _cut(boxes.area_percent, bounds.area_percent, areas),
            "across": _cut(boxes.centre_x, _THIRDS, _ACROSS),
            "down": _cut(boxes.centre_y, _THIRDS, _DOWN),
        }
        slices += [
            _of_boxes(by, name, class_name, chosen, boxes)
            for by, partition in placed.items()
            for name, chosen in partition.items()
        ]
    return _rows(slices, np.array(clusters_of(records)), params)


@dataclass(frozen=True, eq=False)
class _Boxes:
    """The labelled boxes of one class."""

    image: NDArray[np.int64]  # (N,)
    is_found: NDArray[np.bool_]  # (N,)
    area_percent: NDArray[np.float64]  # (N,), of the frame
    centre_x: NDArray[np.float64]  # (N,), 0 at the left, 1 at the right
    centre_y: NDArray[np.float64]
    images: int

    @classmethod
    def of(
        cls, records: Sequence[ImageRecord], truths: Sequence[Truth], judged: Sequence[JudgedImage], class_id: int
    ) -> _Boxes:
        mine = [truth.class_ids == class_id for truth in truths]
        kinds = [np.array(verdict.box_kinds, object)[rows] for verdict, rows in zip(judged, mine, strict=True)]
        shares = [
            truth.boxes_xyxy[rows] / np.array([record.width, record.height] * 2, np.float64)
            for record, truth, rows in zip(records, truths, mine, strict=True)
        ]
        x1, y1, x2, y2 = np.concatenate(shares).T
        return cls(
            np.repeat(np.arange(len(records)), [int(rows.sum()) for rows in mine]),
            np.concatenate(kinds) == "found",
            100 * (x2 - x1) * (y2 - y1),
            (x1 + x2) / 2,
            (y1 + y2) / 2,
            len(records),
        )


def _names(bounds: Sequence[float], unit: str = "") -> list[str]:
    """Return what the parts between bounds are called: "below 2", "2 to 5", "5 and more"."""
    if not bounds:
        return ["all"]
    between = [f"{low:g} to {high:g}{unit}" for low, high in pairwise(bounds)]
    return [f"below {bounds[0]:g}{unit}", *between, f"{bounds[-1]:g}{unit} and more"]


def _cut(values: Sequence[float] | NDArray[np.float64], bounds: Sequence[float], names: Sequence[str]) -> _Partition:
    place = np.searchsorted(np.array(bounds), np.array(values), side="right")
    return {name: place == k for k, name in enumerate(names)}


def _of_pictures(by: str, name: str, chosen: NDArray[np.bool_], matches: Sequence[ClassMatches]) -> _Slice:
    inside = [table.of_images(chosen) for table in matches]
    boxes = sum(int(table.boxes.sum()) for table in inside)

    def ap50(weights: Weights) -> Values:
        return FIGURES["ap50"](inside, weights[:, chosen])

    return _Slice(by, name, None, "ap50", chosen, boxes, ap50)


def _of_boxes(by: str, name: str, class_name: str, chosen: NDArray[np.bool_], boxes: _Boxes) -> _Slice:
    inside = np.bincount(boxes.image[chosen], minlength=boxes.images)
    found = np.bincount(boxes.image[chosen & boxes.is_found], minlength=boxes.images)

    def recall(weights: Weights) -> Values:
        return share(weights @ found, weights @ inside)

    return _Slice(by, name, class_name, "recall", inside > 0, int(inside.sum()), recall)


def _rows(slices: Sequence[_Slice], clusters: NDArray[np.str_], params: EvaluationParams) -> list[dict[str, Any]]:
    large = [part for part in slices if part.boxes >= params.slices.min_boxes]

    def values(weights: Weights) -> NDArray[np.float64]:
        return np.stack([part.values(weights) for part in large])

    intervals: list[Interval] = []
    if large:
        intervals = bootstrap(
            values, clusters, resamples=params.resamples, confidence=params.confidence, seed=params.seed
        )
    figures = iter(intervals)
    rows = []
    for part in slices:
        groups = len(np.unique(clusters[part.images]))
        interval = next(figures) if part.boxes >= params.slices.min_boxes else UNKNOWN
        if groups < 2:  # every draw holds the same pictures
            interval = Interval(interval.value, np.nan, np.nan)
        rows.append(
            {
                "by": part.by,
                "slice": part.name,
                "class": part.class_name,
                "images": int(part.images.sum()),
                "groups": groups,
                "boxes": part.boxes,
                "figure": part.figure,
                **interval.to_dict(),
            }
        )
    return rows
