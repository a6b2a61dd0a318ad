"""Lay flat patches into the picture in perspective."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.synthetic.camera import Array, Camera

Image = NDArray[np.uint8]
_NEAR_M = 0.15  # nothing nearer to the camera is drawn
_CUT_M = 1.01 * _NEAR_M  # where a longer thing is cut: rounding must not put the cut itself too near


def quad_of(
    camera: Camera, x_m: tuple[float, float], y_m: tuple[float, float], z_m: tuple[float, float]
) -> Array | None:
    """Project a rectangle to ideal pixels, or return None when the frame does not show it.

    An upright rectangle runs from (x[0], z[0]) to (x[1], z[1]) between the heights y. With y[0] == y[1] it
    lies flat: z[0] is its far side, z[1] the near one.

    Returns:
        Corners (4, 2): top left, top right, bottom right, bottom left.
    """
    (x1, x2), (y1, y2), (z1, z2) = x_m, y_m, z_m
    if y1 == y2:
        points = [(x1, y1, z1), (x2, y1, z1), (x2, y1, z2), (x1, y1, z2)]
    else:
        points = [(x1, y2, z1), (x2, y2, z2), (x2, y1, z2), (x1, y1, z1)]
    corners = np.array(points, np.float32)
    if camera.depth_m(corners).min() < _NEAR_M:
        return None
    quad = camera.project(corners)
    (left, top), (right, bottom) = quad.min(0), quad.max(0)
    height, width = camera.size
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None
    return quad


def seen_range(camera: Camera, x_m: tuple[float, float], y: float, z: float) -> tuple[float, float] | None:
    """Clip a line along the fixture, from x[0] to x[1] metres, to what lies in front of the camera."""
    ends = np.array([(x_m[0], y, z), (x_m[1], y, z)], np.float32)
    near, far = (float(d) for d in camera.depth_m(ends))
    if max(near, far) <= _CUT_M:
        return None
    if min(near, far) >= _CUT_M:
        return x_m
    cut = x_m[0] + (x_m[1] - x_m[0]) * (_CUT_M - near) / (far - near)
    return (cut, x_m[1]) if near < _CUT_M else (x_m[0], cut)


def cell_mask(
    camera: Camera, x_m: tuple[float, float], y_m: tuple[float, float], z: float
) -> tuple[slice, slice, NDArray[np.bool_]] | None:
    """Return where an upright rectangle shows: row slice, column slice and mask in them; None if nowhere."""
    spans = [s for y in y_m if (s := seen_range(camera, x_m, y, z)) is not None]
    if not spans:
        return None
    x1, x2 = max(s[0] for s in spans), min(s[1] for s in spans)
    quad = quad_of(camera, (x1, x2), y_m, (z + 1e-6, z + 1e-6)) if x1 < x2 else None
    if quad is None:
        return None
    height, width = camera.size
    left, top = np.clip(np.floor(quad.min(0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(quad.max(0)) + 1, 0, (width, height)).astype(int)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    points = np.clip(quad - 0.5 - (left, top), -30000, 30000)
    cv2.fillConvexPoly(mask, np.round(points * 16).astype(np.int32), 1, shift=4)
    return slice(top, bottom), slice(left, right), mask.astype(bool)


def lay(image: Image, patch: Image, quad: Array) -> None:
    """Warp a patch onto a quad of an image, in place.

    Args:
        image: RGB, uint8 (H, W, 3).
        patch: uint8 (h, w, 4), RGB multiplied by alpha, and alpha.
        quad: (4, 2) continuous pixels: where the patch's top left, top right, bottom right and bottom left
            corners go.
    """
    height, width = image.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(quad.min(0)) - 1, 0, (width, height)))
    right, bottom = (int(v) for v in np.clip(np.ceil(quad.max(0)) + 1, 0, (width, height)))
    if left >= right or top >= bottom:
        return
    rows, columns = patch.shape[:2]
    corners = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32) - np.float32(0.5)
    target = (quad - np.array([left + 0.5, top + 0.5])).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    warped = cv2.warpPerspective(patch, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    region = image[top:bottom, left:right]
    rest = cv2.cvtColor(255 - warped[..., 3], cv2.COLOR_GRAY2RGB)
    region[:] = cv2.add(cv2.multiply(region, rest, scale=1 / 255), warped[..., :3])
