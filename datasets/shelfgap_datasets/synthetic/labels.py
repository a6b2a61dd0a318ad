"""Exact boxes: what of each opening and of the occluder shows in the final frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.schema import Box
from shelfgap_datasets.synthetic.camera import Array, Camera
from shelfgap_datasets.synthetic.scene import Fixture, Opening
from shelfgap_datasets.synthetic.warp import seen_range

_LEAST_VISIBLE = 0.3  # an opening of which less shows is not labelled
_LARGE_NORM = 0.01  # share of the frame from which an opening counts, however much lies outside
_LEAST_PX = 3


def label_openings(
    fixture: Fixture, camera: Camera, openings: tuple[Opening, ...], hidden: NDArray[np.bool_]
) -> tuple[Box, ...]:
    """Box the visible part of each opening.

    Args:
        fixture: whose rails may cut into an opening.
        camera: where it is seen from.
        openings: where stock is missing.
        hidden: (H, W), what an occluder covers in the final frame.

    Returns:
        Boxes inside the frame, in absolute pixels. An opening is left out when occluder and rails leave less
        than 30 % of it, or when the frame cuts it to less than 30 % and to less than 1 % of the frame.
    """
    boxes = []
    for opening in openings:
        outline = _outline_opening(fixture, camera, opening)
        box = None if outline is None else _visible_box(fixture, camera, opening, outline, hidden)
        if box is not None:
            boxes.append(Box(opening.class_name, box))
    return tuple(boxes)


def opening_mask(fixture: Fixture, camera: Camera, opening: Opening) -> NDArray[np.bool_]:
    """Return the pixels of an opening in the final frame, (H, W), whatever hides it; none set when outside."""
    mask = np.zeros(camera.size, np.uint8)
    outline = _outline_opening(fixture, camera, opening)
    if outline is not None:
        _fill(mask, outline, 1)
    return mask.astype(np.bool_)


def label_occluder(hidden: NDArray[np.bool_]) -> tuple[Box, ...]:
    """Box the pixels of an occluder, (H, W), tightly; nothing when there are none."""
    bounds = _bounds(hidden)
    return () if bounds is None else (Box("occluder", bounds),)


def _outline_opening(fixture: Fixture, camera: Camera, opening: Opening) -> Array | None:
    return _outline(fixture, camera, opening.x_m, opening.y_m, -fixture.setback_m)


def _outline(
    fixture: Fixture, camera: Camera, x_m: tuple[float, float], y_m: tuple[float, float], z: float
) -> Array | None:
    """Outline an upright rectangle in the final frame, cut to what lies before the camera."""
    spans = [seen_range(camera, x_m, y, z) for y in y_m]
    if spans[0] is None or spans[1] is None:
        return None
    x1, x2 = max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])
    return camera.outline((x1, x2), y_m, z) if x1 < x2 else None


def _visible_box(
    fixture: Fixture, camera: Camera, opening: Opening, outline: Array, hidden: NDArray[np.bool_]
) -> tuple[float, float, float, float] | None:
    height, width = camera.size
    whole = np.zeros((height, width), np.uint8)
    _fill(whole, outline, 1)
    visible = whole.copy()
    for shelf in (opening.shelf, opening.shelf + 1):
        if shelf < len(fixture.boards_m):
            board = fixture.boards_m[shelf]
            rail = _outline(fixture, camera, opening.x_m, (board - fixture.rail_m, board), 0.0)
            if rail is not None:
                _fill(visible, rail, 0)
    visible[hidden] = 0
    before, after = _bounds(whole), _bounds(visible)
    if before is None or after is None:
        return None
    in_frame = np.count_nonzero(whole)
    if np.count_nonzero(visible) < _LEAST_VISIBLE * in_frame:
        return None
    if in_frame < min(_LEAST_VISIBLE * float(cv2.contourArea(outline)), _LARGE_NORM * height * width):
        return None
    # Where nothing cuts a side, the outline gives it to a fraction of a pixel.
    (left, top), (right, bottom) = outline.min(0), outline.max(0)
    exact = (
        max(0.0, float(left)),
        max(0.0, float(top)),
        min(width, float(right)),
        min(height, float(bottom)),
    )
    sides = [e if abs(a - b) <= 1 else a for e, b, a in zip(exact, before, after, strict=True)]
    x1, y1, x2, y2 = sides
    return (x1, y1, x2, y2) if x2 - x1 >= _LEAST_PX and y2 - y1 >= _LEAST_PX else None


def _fill(mask: NDArray[np.uint8], outline: Array, value: int) -> None:
    points = np.round(np.clip(outline - 0.5, -30000, 30000) * 16).astype(np.int32)
    cv2.fillPoly(mask, [points], value, shift=4)


def _bounds(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> tuple[float, float, float, float] | None:
    """Return the half-open bounds (x1, y1, x2, y2) of the pixels that are set, or None if none is."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
