"""Pictures for people: detections and labelled boxes drawn, and the worst cases on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from shelfgap_edge.postprocess import Detections

from shelfgap_training.metrics import Truth, at_threshold, match_class

# RGB: found boxes by class, and labelled ones
_FOUND = {"gap": (230, 40, 40), "low": (245, 160, 20), "occluder": (60, 120, 240)}
_LABELLED = (40, 220, 90)


def draw_detections(
    image_rgb: NDArray[np.uint8],
    detections: Detections,
    classes: Sequence[str],
    truth: Truth | None = None,
) -> NDArray[np.uint8]:
    """Draw detections with class and score, and labelled boxes in green below them, on a copy.

    Args:
        image_rgb: uint8 (H, W, 3).
        detections: boxes in pixels of that image.
        classes: names by class id.
        truth: labelled boxes in the same pixels.
    """
    canvas = np.ascontiguousarray(image_rgb.copy())
    unit = max(1, round(max(canvas.shape[:2]) / 400))  # line width that suits the size
    if truth is not None:
        for box in truth.boxes_xyxy:
            _rectangle(canvas, box, _LABELLED, unit)
    for box, score, class_id in zip(detections.boxes_xyxy, detections.scores, detections.class_ids, strict=True):
        name = classes[int(class_id)]
        _rectangle(canvas, box, _FOUND[name], unit)
        text, scale = f"{name} {score:.2f}", 0.32 * unit
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        x, y = int(box[0]), max(int(box[1]), height + 2 * unit)
        cv2.rectangle(canvas, (x, y - height - 2 * unit), (x + width, y), _FOUND[name], -1)
        cv2.putText(canvas, text, (x, y - unit), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def worst_first(truths: Sequence[Truth], detections: Sequence[Detections], thresholds: Sequence[float]) -> list[int]:
    """Order images by their number of misses and false alarms at the thresholds (one a class), worst first."""
    mistakes = []
    for truth, found in zip(truths, detections, strict=True):
        wrong = 0
        for class_id, threshold in enumerate(thresholds):
            point = at_threshold(match_class([truth], [found], class_id), threshold)
            wrong += point.boxes + point.detections - 2 * point.true_positives
        mistakes.append(wrong)
    return sorted(range(len(mistakes)), key=lambda i: -mistakes[i])


def contact_sheet(pictures: Sequence[NDArray[np.uint8]], columns: int, cell: tuple[int, int]) -> NDArray[np.uint8]:
    """Lay pictures out in rows, each fitted into a `cell` of (height, width) pixels on a dark ground."""
    height, width = cell
    rows = max(1, -(-len(pictures) // columns))
    sheet = np.full((rows * height, columns * width, 3), 24, np.uint8)
    for i, picture in enumerate(pictures):
        scale = min((height - 4) / picture.shape[0], (width - 4) / picture.shape[1])
        size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = (i // columns) * height + 2, (i % columns) * width + 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def _rectangle(canvas: NDArray[np.uint8], box: NDArray[np.float32], colour: tuple[int, int, int], line_px: int) -> None:
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    cv2.rectangle(canvas, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, line_px)
