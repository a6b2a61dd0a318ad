"""Which detection finds which box, as COCO decides: best score first, best overlap first, each box at most once."""

from __future__ import annotations

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

MATCH_IOU = 0.5
"""Overlap from which a detection finds a box, for precision, recall and F1."""

COCO_IOUS = np.linspace(0.5, 0.95, 10)
"""Overlaps that AP50-95 is the mean over."""


def overlaps(boxes_xyxy: NDArray[np.float32], others_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with each of the others.

    In double precision and by faster-coco-eval, so that a match at a threshold is the one that its AP counts.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.
        others_xyxy: float32 (M, 4), pixels.

    Returns:
        float64 (N, M), in [0, 1]; (N, 0) or (0, M) when a side is empty.
    """
    return _coco_overlaps(boxes_xyxy, others_xyxy, are_crowds=False)


def covered(boxes_xyxy: NDArray[np.float32], regions_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of each box that lies in each region, COCO's overlap with a crowd, in the form of `overlaps`."""
    return _coco_overlaps(boxes_xyxy, regions_xyxy, are_crowds=True)


def match_boxes(overlap: NDArray[np.float64], iou_thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which box each detection finds at each threshold.

    Args:
        overlap: float64 (D, G), of detections, best score first, with boxes; negative where they must not match.
        iou_thresholds: float64 (T,), in (0, 1].

    Returns:
        int64 (T, D), index of a box, -1 for none.

    Source: `COCOeval.evaluateImg` of pycocotools.
    """
    count, boxes = overlap.shape
    matched = np.full((len(iou_thresholds), count), -1, np.int64)
    if not boxes:
        return matched
    rows = np.arange(len(iou_thresholds))
    free = np.ones((len(iou_thresholds), boxes), np.bool_)
    for detection in np.flatnonzero(overlap.max(1) >= iou_thresholds.min()):
        candidates = np.where(free, overlap[detection], -1.0)
        best = boxes - 1 - candidates[:, ::-1].argmax(1)  # of equal overlaps the last
        finds = candidates[rows, best] >= iou_thresholds
        matched[finds, detection] = best[finds]
        free[finds, best[finds]] = False
    return matched


def _coco_overlaps(
    boxes_xyxy: NDArray[np.float32], others_xyxy: NDArray[np.float32], *, are_crowds: bool
) -> NDArray[np.float64]:
    if not len(boxes_xyxy) or not len(others_xyxy):
        return np.zeros((len(boxes_xyxy), len(others_xyxy)))
    crowds = [int(are_crowds)] * len(others_xyxy)
    return np.asarray(mask.iou(_xywh(boxes_xyxy), _xywh(others_xyxy), crowds), np.float64)


def _xywh(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    boxes = boxes_xyxy.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
