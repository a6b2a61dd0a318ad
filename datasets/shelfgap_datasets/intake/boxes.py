"""From boxes as their authors wrote them to boxes of the dataset: our classes, displayed pixels, inside the picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from shelfgap_edge.geometry import iou_matrix

from shelfgap_datasets.intake.model import FIX_BOX, SourceBox, SourceImage
from shelfgap_datasets.intake.pictures import Picture, turn_box
from shelfgap_datasets.schema import IGNORE, Box, Rejection, box_problem, clip_box, in_order

_SAME_BOX_IOU = 0.5  # two labellers of one picture meant the same thing


def boxes_of_picture(
    path: str, picture: Picture, images: list[SourceImage], names: Mapping[str, str]
) -> tuple[tuple[Box, ...] | None, list[Rejection]]:
    """Return the boxes of one picture in displayed pixels; None when an annotation speaks of another size."""
    height, width = picture.size
    kept: tuple[Box, ...] = ()
    problems: list[Rejection] = []
    for image in images:
        stated = image.stated_size
        if stated not in (None, picture.size, picture.stored_size):
            reason = f"the annotation speaks of {stated[1]}x{stated[0]}, the picture is {width}x{height}"
            return None, [Rejection(path, reason, "label the picture in its own size")]
        # A tool that gives the size before rotation also counted its boxes there.
        is_unturned = stated == picture.stored_size != picture.size
        mine = []
        for box in image.boxes:
            if box.label not in names:
                continue
            xyxy = _pixels(box, image, picture, is_unturned)
            problem = box_problem(xyxy, width, height)
            if problem:
                problems.append(Rejection(box.where, problem, FIX_BOX))
            else:
                mine.append(Box(_class_of(box, names), clip_box(xyxy, width, height)))
        kept = union(kept, tuple(dict.fromkeys(mine)))
    return kept, problems


def classes_of(images: Iterable[SourceImage], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return our classes that a source speaks of, in their order."""
    drawn = {_class_of(box, names) for image in images for box in image.boxes if box.label in names}
    return in_order({*names.values(), *drawn})


def _class_of(box: SourceBox, names: Mapping[str, str]) -> str:
    ours = names[box.label]
    return IGNORE if box.is_ignored and ours != "occluder" else ours  # shoppers in a crowd are to be pixelated too


def _pixels(
    box: SourceBox, image: SourceImage, picture: Picture, is_unturned: bool
) -> tuple[float, float, float, float]:
    if image.boxes_are_fractions:
        height, width = picture.size
        x1, y1, x2, y2 = box.xyxy
        return x1 * width, y1 * height, x2 * width, y2 * height
    return turn_box(box.xyxy, picture.orientation, picture.stored_size) if is_unturned else box.xyxy


def union(first: tuple[Box, ...], second: tuple[Box, ...]) -> tuple[Box, ...]:
    """Join the boxes of two labellings of one picture: of two that mean the same, the first stays."""
    added = [
        box for box in second if not lies_at(box, [other for other in first if other.class_name == box.class_name])
    ]
    return (*first, *added)


def lies_at(box: Box, others: Sequence[Box]) -> bool:
    """Say whether a box means the same place as one of others, whatever their classes; False where there are none."""
    if not others:
        return False
    overlaps = iou_matrix(np.array([box.xyxy], np.float32), np.array([other.xyxy for other in others], np.float32))
    return bool(overlaps.max() >= _SAME_BOX_IOU)


def are_at_odds(first: tuple[Box, ...], second: tuple[Box, ...]) -> bool:
    """Say whether two labellings of one picture share less than half of the boxes of the smaller one.

    Only classes of which both have boxes count, so one that saw nothing is at odds with none.
    """
    shared = {box.class_name for box in first} & {box.class_name for box in second}
    ours, theirs = (tuple(b for b in boxes if b.class_name in shared) for boxes in (first, second))
    in_common = len(ours) + len(theirs) - len(union(ours, theirs))
    return 2 * in_common < min(len(ours), len(theirs))
