"""Detections of which no label says whether they are right: of classes, and in regions, that nobody decided on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.schema import ImageRecord
from shelfgap_edge.postprocess import Detections

from shelfgap_training.matching import MATCH_IOU, covered, match_boxes, overlaps
from shelfgap_training.metrics import Truth


def only_looked_for(found: Detections, record: ImageRecord, classes: Sequence[str]) -> Detections:
    """Return the detections that the labels of a picture can judge, in their order.

    Left out are those of classes that were not looked for in it, and those that `without_ignored` leaves out.

    Args:
        found: in that picture and its pixels; an id outside `classes` is left out too.
        record: of the picture, with its ignored regions.
        classes: names by class id.
    """
    known = record.of_classes(classes)
    truth = Truth(known.boxes_xyxy(), known.class_ids(classes))
    return without_ignored(of_labelled_classes(found, record, classes), truth, record.ignored_xyxy())


def of_labelled_classes(found: Detections, record: ImageRecord, classes: Sequence[str]) -> Detections:
    """Return the detections of classes that were looked for in a picture, in their order."""
    kept = np.isin(found.class_ids, [index for index, name in enumerate(classes) if record.is_labelled(name)])
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])


def without_ignored(found: Detections, truth: Truth, ignored_xyxy: NDArray[np.float32]) -> Detections:
    """Return the detections but those that find no box and lie to a half or more in an ignored region.

    So AP50, precision and recall are COCO's with each region as a crowd of every class. COCO asks for a larger share at
    higher overlaps; here a detection is judged at all of them or at none.

    Args:
        found: in a picture, its pixels.
        truth: its labelled boxes.
        ignored_xyxy: float32 (K, 4), its ignored regions.

    Source: `COCOeval.evaluateImg` of pycocotools, `iscrowd`.
    """
    if not len(ignored_xyxy) or not len(found):
        return found
    kept = ~lies_in(found.boxes_xyxy, ignored_xyxy)
    for class_id in np.unique(found.class_ids):
        mine = np.flatnonzero(found.class_ids == class_id)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        overlap = overlaps(found.boxes_xyxy[mine], truth.boxes_xyxy[truth.class_ids == class_id])
        kept[mine] |= match_boxes(overlap, np.array([MATCH_IOU]))[0] >= 0
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])


def lies_in(boxes_xyxy: NDArray[np.float32], ignored_xyxy: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes lie to a half or more in one of the ignored regions, bool (N,)."""
    return np.asarray(covered(boxes_xyxy, ignored_xyxy).max(1, initial=0) >= MATCH_IOU)
