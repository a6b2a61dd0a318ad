"""The pinhole camera of a synthetic still: poses, projection, rays and barrel distortion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with barrel distortion.

    World coordinates are metres: x along the fixture, y up from the floor, z out of the shelf towards the
    aisle. Image coordinates are continuous pixels: pixel (row, column) covers [column, column + 1).

    Attributes:
        position: (x, y, z) of the centre of projection, metres.
        rotation: (3, 3), rows are the camera's right, down and forward directions in the world.
        focal_px: focal length in pixels.
        size: (height, width) of the frame.
        barrel: strength of the distortion, 0 for none; corners of the frame stay where they are.
    """

    position: Array
    rotation: Array
    focal_px: float
    size: tuple[int, int]
    barrel: float

    @property
    def centre(self) -> Array:
        """The principal point, (x, y) in pixels: the middle of the frame."""
        return np.array([self.size[1] / 2, self.size[0] / 2], np.float32)

    def depth_m(self, points: Array) -> Array:
        """Return how far points (..., 3) lie in front of the camera along its axis, metres (...)."""
        return np.asarray((points - self.position) @ self.rotation[2], np.float32)

    def project(self, points: Array) -> Array:
        """Project world points (..., 3) in front of the camera to ideal pixels (..., 2), undistorted."""
        seen = (points - self.position) @ self.rotation.T
        flat = seen[..., :2] / seen[..., 2:]
        return np.asarray(flat * np.float32(self.focal_px) + self.centre, np.float32)

    def rays(self) -> tuple[Array, Array, Array]:
        """Return the world direction (x, y, z), each (height, width), of every undistorted pixel centre."""
        height, width = self.size
        u = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / np.float32(self.focal_px)
        v = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / np.float32(self.focal_px)
        right, down, forward = self.rotation
        x, y, z = ((right[i] * u)[None, :] + (down[i] * v)[:, None] + forward[i] for i in range(3))
        return x, y, z

    def undistort(self, points: Array) -> Array:
        """Map pixels (..., 2) of the final frame to ideal pixels.

        With r in half diagonals and k = `barrel`: r' = r (1 + k r²) / (1 + k).

        Source: the polynomial radial model of Brown (1971), one coefficient, written from the distorted side.
        """
        offset = points - self.centre
        squared = (offset**2).sum(-1, keepdims=True) / np.float32((self.centre**2).sum())
        scale = (1 + self.barrel * squared) / np.float32(1 + self.barrel)
        return np.asarray(self.centre + offset * scale, np.float32)

    def distort(self, points: Array) -> Array:
        """Map ideal pixels (..., 2) to pixels of the final frame, the inverse of `undistort`.

        The radial cubic k r³ + r = (1 + k) r' has one real root, found here by Newton's method.
        """
        if self.barrel == 0:
            return points
        offset = (points - self.centre).astype(np.float64)
        half_diagonal = float(np.sqrt((self.centre**2).sum()))
        ideal = np.sqrt((offset**2).sum(-1, keepdims=True)) / half_diagonal
        radius = ideal.copy()
        for _ in range(12):
            excess = self.barrel * radius**3 + radius - (1 + self.barrel) * ideal
            radius -= excess / (3 * self.barrel * radius**2 + 1)
        scale = np.where(ideal > 1e-9, radius / np.maximum(ideal, 1e-9), 1 + self.barrel)
        return (self.centre + offset * scale).astype(np.float32)

    def outline(self, x: tuple[float, float], y: tuple[float, float], z: float, steps: int = 12) -> Array:
        """Return the outline in the final frame of an upright rectangle at depth z, (4 * steps, 2) pixels."""
        along = np.arange(steps, dtype=np.float32) / steps
        (x1, x2), (y1, y2) = x, y
        xs = np.concatenate([x1 + (x2 - x1) * along, 0 * along + x2, x2 - (x2 - x1) * along, 0 * along + x1])
        ys = np.concatenate([0 * along + y2, y2 - (y2 - y1) * along, 0 * along + y1, y1 + (y2 - y1) * along])
        points = np.stack([xs, ys, np.full_like(xs, z)], -1).astype(np.float32)
        return self.distort(self.project(points))


def aim(
    target: tuple[float, float, float], distance_m: float, yaw: float, elevation: float, roll: float
) -> tuple[Array, Array]:
    """Place a camera that looks at a point.

    Args:
        target: the point looked at, metres.
        distance_m: distance from the target.
        yaw: angle of the view sideways, radians, 0 straight at the shelf.
        elevation: angle of the camera above the target, radians.
        roll: turn about the optical axis, radians.

    Returns:
        Position (3,) and rotation (3, 3), see `Camera`.
    """
    back = np.array([np.sin(yaw) * np.cos(elevation), np.sin(elevation), np.cos(yaw) * np.cos(elevation)], np.float64)
    position = np.array(target) + distance_m * back
    forward = -back
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    turned_right = np.cos(roll) * right + np.sin(roll) * down
    turned_down = np.cos(roll) * down - np.sin(roll) * right
    return position.astype(np.float32), np.stack([turned_right, turned_down, forward]).astype(np.float32)
