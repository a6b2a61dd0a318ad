"""The dataset contract in memory: images, their boxes, and what was refused."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.contract import CLASSES
from shelfgap_edge.errors import ShelfgapError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
IGNORE = "ignore"  # a region of which nobody says what is there: neither taught nor counted
LABEL_CLASSES = (*CLASSES, "product", IGNORE)  # what a dataset may be labelled with; a detector learns the first three
CONSENT_BASES = {
    "synthetic": "rendered, nobody was photographed",
    "no-persons": "no person can be recognised in the pictures",
    "consent": "everybody shown has agreed",
    "notice": "taken in the legitimate interest of the store, with a notice to shoppers",
    "public-dataset": "published by others, who answer for it",
}
UNSTATED = "unstated"  # licence or consent of pictures that may be tried out, but not handed on


def in_order(classes: Container[str]) -> tuple[str, ...]:
    """Return those of `LABEL_CLASSES` that are among some classes, in their order.

    >>> in_order({"product", "gap"})
    ('gap', 'product')
    """
    return tuple(name for name in LABEL_CLASSES if name in classes)


class DatasetError(ShelfgapError):
    """A dataset, or a source to import, cannot be used."""


@dataclass(frozen=True, slots=True)
class Box:
    """One labelled box: class name and absolute pixels (x1, y1, x2, y2), half-open."""

    class_name: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Twin:
    """Where a byte-identical picture stood that became one with a record: path in its source, store, camera."""

    source: str
    store: str | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of a dataset and its boxes; `file_name` is relative to `images/`, with forward slashes."""

    file_name: str
    width: int
    height: int
    sha256: str
    license: str
    consent: str  # why the picture may be used as far as persons are concerned: a key of CONSENT_BASES
    source: str  # path below the imported root
    store: str | None = None
    camera: str | None = None
    section: str | None = None
    captured_at: str | None = None
    group: str | None = None
    split: Split | None = None
    redacted: bool = False  # its occluder boxes are pixelated
    annotated_classes: tuple[str, ...] | None = None  # labelled in this picture; None: all of the dataset's
    twins: tuple[Twin, ...] = ()  # they link its scene to others
    boxes: tuple[Box, ...] = ()

    def boxes_xyxy(self) -> NDArray[np.float32]:
        """Return the boxes as float32 (N, 4), absolute pixels, half-open; (0, 4) when there are none."""
        return np.array([box.xyxy for box in self.boxes], dtype=np.float32).reshape(-1, 4)

    def is_labelled(self, class_name: str) -> bool:
        """Say whether boxes of a class of the dataset were drawn in this picture, so that none means none there."""
        return self.annotated_classes is None or class_name in self.annotated_classes

    def of_classes(self, classes: Sequence[str]) -> ImageRecord:
        """Return the record without the boxes of other classes."""
        return replace(self, boxes=tuple(box for box in self.boxes if box.class_name in classes))

    def resized(self, size: tuple[int, int]) -> ImageRecord:
        """Return the record of the picture resized to (height, width) pixels."""
        x, y = size[1] / self.width, size[0] / self.height
        boxes = (replace(b, xyxy=(b.xyxy[0] * x, b.xyxy[1] * y, b.xyxy[2] * x, b.xyxy[3] * y)) for b in self.boxes)
        return replace(self, height=size[0], width=size[1], boxes=tuple(boxes))

    def ignored_xyxy(self) -> NDArray[np.float32]:
        """Return the regions that say nothing, as `boxes_xyxy` returns boxes."""
        return self.of_classes((IGNORE,)).boxes_xyxy()

    def class_ids(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Return the index of each box's class in `classes`, int64 (N,).

        Raises:
            ValueError: a box has a class that is not in `classes`.
        """
        return np.array([classes.index(box.class_name) for box in self.boxes], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was left out: where it stands in the source, why, and what to do about it."""

    source: str
    reason: str
    action: str


@dataclass(frozen=True)
class Dataset:
    """Images with boxes, the classes that were labelled at all, and the records that were refused.

    Raises:
        DatasetError: `annotated_classes` is empty, repeats or names an unknown class, a file name repeats, or
            a box has a class that was not labelled, in the dataset or in its picture.
    """

    images: tuple[ImageRecord, ...]
    annotated_classes: tuple[str, ...]
    rejections: tuple[Rejection, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.annotated_classes or len(set(self.annotated_classes)) != len(self.annotated_classes):
            raise DatasetError(f"annotated_classes must be distinct and not empty, got {self.annotated_classes}")
        unknown = set(self.annotated_classes) - set(LABEL_CLASSES)
        if unknown:
            raise DatasetError(
                f"annotated_classes: {', '.join(sorted(unknown))} not known (known: {', '.join(LABEL_CLASSES)})"
            )
        seen: set[str] = set()
        for image in self.images:
            if image.file_name in seen:
                raise DatasetError(f"file_name {image.file_name!r} stands twice in one dataset")
            seen.add(image.file_name)
            foreign = set(image.annotated_classes or ()) - set(self.annotated_classes)
            if foreign:
                raise DatasetError(f"{image.file_name}: {', '.join(sorted(foreign))} is not in annotated_classes")
            for box in image.boxes:
                if box.class_name not in self.annotated_classes or not image.is_labelled(box.class_name):
                    raise DatasetError(f"{image.file_name}: class {box.class_name!r} is not in annotated_classes")

    @property
    def detector_classes(self) -> tuple[str, ...]:
        """The labelled classes that a detector can learn, in the order of the contract."""
        return tuple(name for name in CLASSES if name in self.annotated_classes)

    def of_split(self, split: Split) -> tuple[ImageRecord, ...]:
        """Return the images of one split, in their order."""
        return tuple(image for image in self.images if image.split == split)


def box_problem(xyxy: Sequence[float], width: int, height: int) -> str | None:
    """Say what is wrong with a box, or None when its part inside the image is usable.

    Args:
        xyxy: x1, y1, x2, y2 in absolute pixels.
        width: image width in pixels.
        height: image height in pixels.

    >>> box_problem((10, 10, 5, 20), 100, 100)
    'zero or negative area: width -5, height 10'
    >>> box_problem((-5, 10, 5, 20), 100, 100) is None
    True
    """
    x1, y1, x2, y2 = xyxy
    if not all(math.isfinite(v) for v in xyxy):
        return "a coordinate is NaN or infinite"
    if x2 <= x1 or y2 <= y1:
        return f"zero or negative area: width {x2 - x1:g}, height {y2 - y1:g}"
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        return f"wholly outside the {width}x{height} image"
    return None


def clip_box(xyxy: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """Clip a box (x1, y1, x2, y2 in pixels) to an image of `width` x `height`."""
    x1, y1, x2, y2 = xyxy
    return (
        max(0.0, float(x1)),
        max(0.0, float(y1)),
        min(float(width), float(x2)),
        min(float(height), float(y2)),
    )
