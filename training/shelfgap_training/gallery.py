"""Pictures for people: detections and labelled boxes drawn, and the worst cases on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import load_picture
from shelfgap_edge.geometry import scale
from shelfgap_edge.postprocess import Detections

from shelfgap_training.errors import JudgedImage
from shelfgap_training.evaluate import ScoredImages
from shelfgap_training.metrics import Truth, at_threshold, match_class

# RGB: found boxes by class, and labelled ones
CLASS_COLOURS = {"gap": (230, 40, 40), "low": (245, 160, 20), "occluder": (60, 120, 240)}
_LABELLED = (40, 220, 90)
_NOT_FOUND = (255, 235, 40)
_CELL = (256, 320)  # (height, width) in pixels of a picture on the sheet of errors
_CAPTION_PX = 16


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
        _rectangle(canvas, box, CLASS_COLOURS[name], unit)
        _tag(canvas, box, f"{name} {score:.2f}", CLASS_COLOURS[name], unit)
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


def worst_sheet(
    root: Path, scored: ScoredImages, score_thresholds: Mapping[str, float], most: int
) -> NDArray[np.uint8]:
    """Lay out the pictures with the most mistakes, worst first, each mistake named.

    Labelled boxes are green when found, else yellow with what became of them; hits are thin in the colour of their
    class, other detections thick with their kind and score (see `errors`).

    Args:
        root: dataset directory.
        scored: its images.
        score_thresholds: operating point by class name.
        most: pictures at most; those without a mistake are left out.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    judged = scored.judged(score_thresholds)
    order = sorted(range(len(judged)), key=lambda i: (-judged[i].mistakes.total(), scored.records[i].file_name))
    pictures = []
    for index in order[:most]:
        if not judged[index].mistakes:
            break
        record = scored.records[index]
        room = (_CELL[0] - _CAPTION_PX - 4, _CELL[1] - 4)
        shrink = min(room[0] / record.height, room[1] / record.width)
        size = (max(1, int(record.height * shrink)), max(1, int(record.width * shrink)))
        frame = load_picture(root, record.file_name, size)
        from_size = (record.height, record.width)
        drawn = draw_judged(frame, scored.truths[index], judged[index], scored.classes, from_size)
        told = ", ".join(f"{count} {kind}" for kind, count in judged[index].mistakes.most_common())
        pictures.append(np.concatenate([_caption(f"{told}: {record.file_name}", size[1]), drawn]))
    return contact_sheet(pictures, columns=5, cell=_CELL)


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


def draw_judged(
    frame: NDArray[np.uint8], truth: Truth, judged: JudgedImage, classes: Sequence[str], from_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw the boxes and detections of a picture, each in the look of its kind (see `worst_sheet`), on a copy.

    Args:
        frame: uint8 (H, W, 3) RGB, of any size.
        truth: labelled boxes.
        judged: their kinds and the detections.
        classes: names by class id.
        from_size: (height, width) of the picture whose pixels the boxes are in.
    """
    canvas = np.ascontiguousarray(frame.copy())
    boxes = scale(truth.boxes_xyxy, from_size, canvas.shape[:2])
    for box, kind in zip(boxes, judged.box_kinds, strict=True):
        _rectangle(canvas, box, _LABELLED if kind == "found" else _NOT_FOUND, 1)
    found = scale(judged.detections.boxes_xyxy, from_size, canvas.shape[:2])
    for box, score, class_id, kind in zip(
        found, judged.detections.scores, judged.detections.class_ids, judged.detection_kinds, strict=True
    ):
        colour = CLASS_COLOURS[classes[int(class_id)]]
        _rectangle(canvas, box, colour, 1 if kind == "hit" else 2)
        if kind != "hit":
            _tag(canvas, box, f"{kind} {score:.2f}", colour, 1)
    for box, kind in zip(boxes, judged.box_kinds, strict=True):
        if kind == "missed":
            _tag(canvas, box, kind, _NOT_FOUND, 1)
    return canvas


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((_CAPTION_PX, width, 3), 24, np.uint8)
    return np.asarray(
        cv2.putText(strip, text, (1, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (235, 235, 235), 1, cv2.LINE_AA)
    )


def _tag(
    canvas: NDArray[np.uint8], box: NDArray[np.float32], text: str, colour: tuple[int, int, int], unit: int
) -> None:
    """Write on a plate over the top left corner of a box, dark on a bright colour."""
    size = 0.32 * unit
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = max(0, min(int(box[0]), canvas.shape[1] - width))
    y = max(int(box[1]), height + 2 * unit)
    ink = (20, 20, 20) if sum(colour) > 500 else (255, 255, 255)
    cv2.rectangle(canvas, (x, y - height - 2 * unit), (x + width, y), colour, -1)
    cv2.putText(canvas, text, (x, y - unit), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)


def _rectangle(canvas: NDArray[np.uint8], box: NDArray[np.float32], colour: tuple[int, int, int], line_px: int) -> None:
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    cv2.rectangle(canvas, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, line_px)
