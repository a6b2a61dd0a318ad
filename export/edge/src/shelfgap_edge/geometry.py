"""Pure functions on boxes: absolute pixels (x1, y1, x2, y2), half-open, float32, one box a row.

Every function takes (0, 4) and returns the matching empty array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def area(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """Return the area of each box.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.

    Returns:
        float32 (N,), square pixels; 0 for a box turned inside out (x2 < x1 or y2 < y1).

    >>> area(np.array([[0, 0, 4, 3], [5, 5, 2, 9]], dtype=np.float32))
    array([12.,  0.], dtype=float32)
    >>> area(np.empty((0, 4), dtype=np.float32))
    array([], dtype=float32)
    """
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], np.float32(0))
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def intersection_matrix(boxes_xyxy: Boxes, others_xyxy: Boxes) -> NDArray[np.float32]:
    """Return the area that each box shares with each of the others.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.
        others_xyxy: float32 (M, 4), pixels.

    Returns:
        float32 (N, M), square pixels; boxes that only touch share 0.

    >>> a = np.array([[0, 0, 4, 4]], dtype=np.float32)
    >>> b = np.array([[2, 2, 6, 6], [4, 0, 8, 4]], dtype=np.float32)
    >>> intersection_matrix(a, b)
    array([[4., 0.]], dtype=float32)
    """
    top_left = np.maximum(boxes_xyxy[:, None, :2], others_xyxy[None, :, :2])
    bottom_right = np.minimum(boxes_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, np.float32(0))
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=np.float32)


def iou_matrix(boxes_xyxy: Boxes, others_xyxy: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of each box with each of the others.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.
        others_xyxy: float32 (M, 4), pixels.

    Returns:
        float32 (N, M), in [0, 1]; 0 where both boxes have no area. (0, M) or (N, 0) when a side is empty.

    Source: Jaccard index, as used by PASCAL VOC (Everingham et al., 2010, doi:10.1007/s11263-009-0275-4).

    >>> a = np.array([[0, 0, 2, 2]], dtype=np.float32)
    >>> b = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [9, 9, 9, 9]], dtype=np.float32)
    >>> iou_matrix(a, b).round(3)
    array([[1.   , 0.333, 0.   ]], dtype=float32)
    """
    shared = intersection_matrix(boxes_xyxy, others_xyxy)
    union = area(boxes_xyxy)[:, None] + area(others_xyxy)[None, :] - shared
    return np.asarray(shared / np.where(union > 0, union, np.float32(1)), dtype=np.float32)


def clip(boxes_xyxy: Boxes, size: tuple[int, int]) -> Boxes:
    """Return the boxes cut to a frame.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.
        size: (height, width) of the frame in pixels.

    Returns:
        float32 (N, 4), a new array; a box wholly outside becomes empty (no area) on the border.

    >>> clip(np.array([[-3, 2, 50, 9]], dtype=np.float32), (8, 20))
    array([[ 0.,  2., 20.,  8.]], dtype=float32)
    """
    height, width = size
    limit = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes_xyxy, np.float32(0), limit)


def scale(boxes_xyxy: Boxes, from_size: tuple[float, float], to_size: tuple[float, float]) -> Boxes:
    """Return the boxes as they lie after their frame is stretched to another size.

    Args:
        boxes_xyxy: float32 (N, 4), in units of `from_size`.
        from_size: (height, width); (1, 1) for boxes given as fractions.
        to_size: (height, width) in pixels.

    Returns:
        float32 (N, 4), in pixels of `to_size`.

    >>> scale(np.array([[0.5, 0, 1, 0.25]], dtype=np.float32), (1, 1), (200, 300))
    array([[150.,   0., 300.,  50.]], dtype=float32)
    """
    factor_y, factor_x = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return boxes_xyxy * np.array([factor_x, factor_y, factor_x, factor_y], dtype=np.float32)
