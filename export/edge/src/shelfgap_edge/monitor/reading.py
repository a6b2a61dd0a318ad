"""What the monitor is told of a frame: what was detected, and a few numbers that are no picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.contract import CLASSES
from shelfgap_edge.monitor.zones import Box, Zone
from shelfgap_edge.postprocess import Detections

_ROWS = 120  # of a frame that are looked at
_GRID = tuple((x / 4, y / 3, (x + 1) / 4, (y + 1) / 3) for y in range(3) for x in range(4))
_ENOUGH_ZONES = 6  # fewer are no pattern to recognise a view by


@dataclass(frozen=True)
class Look:
    """An area of a frame in three numbers.

    Attributes:
        luma: mean brightness, 0 to 255.
        spread: standard deviation of the brightness.
        sharpness: mean difference of neighbours in a row.
    """

    luma: float
    spread: float
    sharpness: float


@dataclass(frozen=True)
class Glance:
    """A frame in a few numbers.

    Attributes:
        whole: of the whole frame.
        areas: of the box around each zone, or of 4x3 cells where there are fewer than six zones.
    """

    whole: Look
    areas: tuple[Look, ...]


@dataclass(frozen=True, eq=False)
class FrameReading:
    """A frame after its pixels are gone.

    Attributes:
        camera_id: whose frame.
        at: when it was taken, seconds since the epoch, UTC.
        detections: what was found above the thresholds of the bundle, in pixels.
        frame_size: (height, width) of the frame in pixels.
        glance: its few numbers.
        classes: class names by the class ids of `detections`: those of the bundle's manifest.
    """

    camera_id: str
    at: float
    detections: Detections
    frame_size: tuple[int, int]
    glance: Glance
    classes: tuple[str, ...] = CLASSES

    def boxes_norm(self, min_scores: Mapping[str, float] | None = None) -> dict[str, list[Box]]:
        """Return the boxes by class name, as fractions of the frame; without those below the least score of a class."""
        height, width = self.frame_size
        boxes = self.detections.boxes_xyxy.astype(np.float64) / (width, height, width, height)
        found: dict[str, list[Box]] = {name: [] for name in CLASSES}
        names, scores = self.detections.class_names(self.classes), self.detections.scores.tolist()
        for name, score, (x1, y1, x2, y2) in zip(names, scores, boxes.tolist(), strict=True):
            if score >= (min_scores or {}).get(name, 0.0):
                found[name].append((x1, y1, x2, y2))
        return found


def glance(pixels: NDArray[np.uint8], zones: Sequence[Zone]) -> Glance:
    """Take the few numbers of a frame.

    Args:
        pixels: uint8 (height, width, 3), RGB, any size from one pixel on.
        zones: those of the camera; none is fine.
    """
    rows = pixels[:: max(1, len(pixels) // _ROWS)].astype(np.uint16)
    luma = (rows[..., 0] + 2 * rows[..., 1] + rows[..., 2]).astype(np.float32) / np.float32(4)
    return Glance(_look(luma), tuple(_look(_cut(luma, box)) for box in areas_of(zones) or _GRID))


def areas_of(zones: Sequence[Zone]) -> tuple[Box, ...]:
    """Return the areas of a glance that zones make; none where they are too few, and cells take their place."""
    return tuple(zone.bounds_norm for zone in zones) if len(zones) >= _ENOUGH_ZONES else ()


def _cut(luma: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Return the part of an array that a box covers, at least one value."""
    height, width = luma.shape
    x1, y1 = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    return luma[y1 : max(y1 + 1, round(box[3] * height)), x1 : max(x1 + 1, round(box[2] * width))]


def _look(luma: NDArray[np.float32]) -> Look:
    steps = np.abs(np.diff(luma, axis=1))
    sharpness = float(steps.mean()) if steps.size else 0.0
    return Look(round(float(luma.mean()), 3), round(float(luma.std()), 3), round(sharpness, 3))
