"""Scenes with boxes and what a detector found in them, and pycocotools as an independent judge."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shelfgap_edge.postprocess import Detections
from shelfgap_training.metrics import Truth


def scene(rng, images=12, classes=2, whole_pixels=False):
    """Boxes moved by some pixels, and false alarms; whole pixels and few scores give ties and overlaps on the line."""
    truths, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        corner = rng.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 80, (count, 2))], 1).astype(np.float32)
        ids = rng.integers(0, classes, count)
        moved = boxes + rng.normal(0, 5, boxes.shape)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 2)  # COCO ignores false alarms without an area
        extra = rng.uniform(0, 200, (int(rng.integers(0, 4)), 2))
        noise = np.concatenate([extra, extra + 40], 1)
        all_boxes = np.concatenate([moved, noise]).astype(np.float32).reshape(-1, 4)
        all_ids = np.concatenate([ids, rng.integers(0, classes, len(noise))]).astype(np.int64)
        scores = rng.permutation(1000)[: len(all_boxes)].astype(np.float32) / 1000
        if whole_pixels:
            boxes, all_boxes, scores = boxes.round(), all_boxes.round(), scores.round(1)
        truths.append(Truth(boxes, ids.astype(np.int64)))
        found.append(Detections(all_boxes, scores, all_ids))
    return truths, found


def nothing():
    """Return a detection of nothing."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def boxes_at(*lefts, class_ids=None):
    """Return boxes of 20x20 pixels at these places from the left."""
    x = np.array(lefts, np.float32)
    ids = np.zeros(len(lefts), np.int64) if class_ids is None else np.array(class_ids, np.int64)
    return Truth(np.stack([x, 0 * x, x + 20, 0 * x + 20], 1).reshape(-1, 4), ids)


def found_at(*lefts, scores, class_ids=None):
    """Return detections of 20x20 pixels at these places from the left."""
    boxes, ids = boxes_at(*lefts, class_ids=class_ids)
    return Detections(boxes, np.array(scores, np.float32), ids)


def pycocotools_ap(truths, found, classes, crowds=()):
    """Return (AP50, AP50-95) as pycocotools has them; `crowds` are regions of each image, crowds of every class."""
    coco = COCO()
    rows = [(i, box, c, 0) for i, t in enumerate(truths, 1) for box, c in zip(t.boxes_xyxy, t.class_ids, strict=True)]
    rows += [(i, box, c, 1) for i, regions in enumerate(crowds, 1) for box in regions for c in range(classes)]
    coco.dataset = {
        "images": [{"id": i} for i in range(1, len(truths) + 1)],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [
            {
                "id": k,
                "image_id": i,
                "category_id": int(c),
                "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                "area": float((b[2] - b[0]) * (b[3] - b[1])),
                "iscrowd": crowd,
            }
            for k, (i, b, c, crowd) in enumerate(rows, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        results = [
            {
                "image_id": i,
                "category_id": int(c),
                "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
                "score": float(s),
            }
            for i, d in enumerate(found, 1)
            for b, s, c in zip(d.boxes_xyxy.astype(float), d.scores, d.class_ids, strict=True)
        ]
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1], evaluation.stats[0]
