"""Labels that a detector which never saw them doubts: likely missing, loose, extra and wrongly named boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord
from shelfgap_edge.geometry import iou_matrix
from shelfgap_edge.postprocess import Detections

from shelfgap_training.looked_for import lies_in, of_labelled_classes

Kind = Literal["missing", "loose", "wrong class", "extra"]
_APART = 0.2  # a detection that overlaps every label less than this stands alone
_LOOSE = (0.3, 0.6)  # overlap at which label and detection mean the same thing and disagree about its bounds
_SAME_PLACE = 0.5
_LEAST_SCORE = 0.05


@dataclass(frozen=True)
class Suspect:
    """A label to look at.

    Attributes:
        file_name: the picture.
        kind: what seems wrong.
        doubt: 0 to 1, how strongly the detector disagrees.
        class_name: what the box should be called: the detector's class, of an extra box the label's.
        suggested_xyxy: where the detector sees it, pixels; None for an extra box.
        label: number of the doubted box in its picture; None for a missing one.
    """

    file_name: str
    kind: Kind
    doubt: float
    class_name: str
    suggested_xyxy: tuple[float, float, float, float] | None
    label: int | None


def fold_of(image: ImageRecord, folds: int) -> int:
    """Return the fold of an image: pictures of one group share it."""
    name = image.group or image.file_name
    return int.from_bytes(hashlib.sha256(f"fold\0{name}".encode()).digest()[:8], "big") % folds


def without_fold(dataset: Dataset, fold: int, folds: int) -> Dataset:
    """Return the dataset with one fold held out as `val` and all others in `train`.

    Raises:
        DatasetError: the fold, or what is left without it, is empty.
    """
    images = tuple(replace(i, split="val" if fold_of(i, folds) == fold else "train") for i in dataset.images)
    if len({image.split for image in images}) < 2:
        groups = len({image.group or image.file_name for image in images})
        raise DatasetError(f"{groups} group(s) do not fill {folds} folds; take fewer, or more photographs")
    return replace(dataset, images=images)


def find_suspects(image: ImageRecord, detections: Detections, classes: Sequence[str]) -> list[Suspect]:
    """Compare the labels of a picture with what a detector found that was not trained on it.

    Args:
        image: its labels; boxes of other classes than `classes` are left alone.
        detections: of that picture, in its pixels, down to a low score; a class that nobody looked for in it has no
            labels to doubt, and in a region that says nothing no label is missing.
        classes: names by class id of the detector.
    """
    numbers = [row for row, box in enumerate(image.boxes) if box.class_name in classes]
    labels = np.array([image.boxes[row].xyxy for row in numbers], np.float32).reshape(-1, 4)
    named = np.array([classes.index(image.boxes[row].class_name) for row in numbers], np.int64)
    known = of_labelled_classes(detections, image, classes)
    kept = known.scores >= _LEAST_SCORE
    boxes, scores, ids = known.boxes_xyxy[kept], known.scores[kept], known.class_ids[kept]
    overlap = iou_matrix(boxes, labels)
    same = ids[:, None] == named[None, :]
    suspects = []

    def add(kind: Kind, doubt: float, class_id: int, found: int | None, label: int | None) -> None:
        where = None if found is None else tuple(round(float(v), 2) for v in boxes[found])
        number = None if label is None else numbers[label]
        suspects.append(Suspect(image.file_name, kind, round(float(doubt), 4), classes[class_id], where, number))  # type: ignore[arg-type]

    for label, class_id in enumerate(named.tolist()):
        mine = np.where(same[:, label], overlap[:, label], 0)
        others = np.where(same[:, label], 0, overlap[:, label])
        agrees = float((scores * (mine >= _LOOSE[1])).max(initial=0))
        rival = int((scores * (others >= _SAME_PLACE)).argmax()) if len(scores) else 0
        rival_score = float(scores[rival]) if len(scores) and others[rival] >= _SAME_PLACE else 0.0
        nearly = np.where((mine >= _LOOSE[0]) & (mine < _LOOSE[1]), scores * (1 - mine), 0)
        seen = float((scores * (overlap[:, label] >= _APART)).max(initial=0))
        if rival_score > agrees:
            add("wrong class", rival_score - agrees, int(ids[rival]), rival, label)
        elif nearly.max(initial=0) > 0 and agrees < float(scores[nearly.argmax()]):
            add("loose", float(nearly.max()), class_id, int(nearly.argmax()), label)
        elif seen < 0.5:
            add("extra", 1 - 2 * seen, class_id, None, label)
    alone = (overlap.max(1, initial=0) < _APART) & ~lies_in(boxes, image.ignored_xyxy())
    taken = np.zeros((0, 4), np.float32)
    for found in np.argsort(-scores, kind="stable").tolist():
        if alone[found] and iou_matrix(boxes[found : found + 1], taken).max(initial=0) < _SAME_PLACE:
            taken = np.vstack([taken, boxes[found : found + 1]])
            add("missing", float(scores[found]), int(ids[found]), found, None)
    return suspects


def rank(suspects: Sequence[Suspect], most: int) -> list[Suspect]:
    """Return the `most` doubtful labels, most doubtful first; kinds take turns, since their doubts do not compare."""
    queues = [
        sorted((s for s in suspects if s.kind == kind), key=lambda s: (-s.doubt, s.file_name))
        for kind in ("missing", "loose", "wrong class", "extra")
    ]
    ranked = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return ranked[:most]
