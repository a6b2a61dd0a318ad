"""Review of labels: train without each fold in turn, and queue what the detectors doubt."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.coco import annotations_hash, load_dataset, write_text_atomic
from shelfgap_datasets.duplicates import near_pairs
from shelfgap_datasets.fingerprint import fingerprint_images
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.labelling.review import Remark, ReviewFormat, require_empty, write_review
from shelfgap_datasets.params import DuplicateParams
from shelfgap_datasets.schema import Box, Dataset, ImageRecord
from shelfgap_datasets.split import group_names
from shelfgap_edge.postprocess import Detections
from shelfgap_export.parity import torch_detections
from shelfgap_training.gallery import contact_sheet, draw_detections
from shelfgap_training.label_quality import Suspect, find_suspects, fold_of, rank, without_fold
from shelfgap_training.metrics import Truth
from shelfgap_training.params import TrainParams
from shelfgap_training.train import train

from shelfgap_flows.hashes import code_hash
from shelfgap_flows.params import Params, params_hash

logger = logging.getLogger(__name__)

_CELL = (320, 420)  # of the sheet, (height, width) in pixels
_SHEET_PICTURES = 24
_AROUND = 1.0  # what is shown around a doubtful box, in sizes of it


def review_labels(
    root: Path,
    to: Path,
    params: Params,
    *,
    scratch: Path,
    folds: int,
    most: int,
    format: ReviewFormat,
    epochs: int | None = None,
) -> list[Suspect]:
    """Find doubtful labels of a dataset by out-of-fold detectors, and write the review queue.

    `to` gets the pictures and labels in `format`, `review.jsonl` (a line a suspect, in order) and `sheet.jpg`. Trained
    folds are kept in `scratch`, so an interrupted review goes on.

    Raises:
        DatasetError: too few groups for the folds, nothing doubtful, or `to` is taken.
    """
    require_empty(to)  # refused before hours of training
    dataset = _grouped(root, load_dataset(root), params.dataset.duplicates)
    recipe = params.train if epochs is None else params.train.model_copy(update={"epochs": epochs})
    recipe = recipe.model_copy(update={"validate_every_epochs": min(recipe.validate_every_epochs, recipe.epochs)})
    values = params_hash(params.model, recipe, params.dataset.duplicates)
    identity = annotations_hash(root) + values + code_hash("datasets", "training")
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    found: dict[str, Detections] = {}
    for fold in range(folds):
        logger.info("fold %d of %d", fold + 1, folds)
        place = scratch / f"review-{key}-{fold}-of-{folds}"
        found |= _out_of_fold(root, dataset, params, recipe, fold, folds, place)
    classes = dataset.detector_classes
    suspects = rank([s for i in dataset.images for s in find_suspects(i, found[i.file_name], classes)], most)
    remarks = [
        Remark(
            s.file_name,
            s.kind,
            s.doubt,
            None if s.suggested_xyxy is None else Box(s.class_name, s.suggested_xyxy),
            s.label,
        )
        for s in suspects
    ]
    write_review(root, dataset, remarks, format, to)
    write_text_atomic(to / "review.jsonl", "".join(json.dumps(asdict(s)) + "\n" for s in suspects))
    by_name = {image.file_name: image for image in dataset.images}
    pictures = [_picture(root, by_name[s.file_name], s, classes) for s in suspects[:_SHEET_PICTURES]]
    cv2.imwrite(str(to / "sheet.jpg"), contact_sheet(pictures, 4, _CELL)[..., ::-1])
    return suspects


def _grouped(root: Path, dataset: Dataset, duplicates: DuplicateParams) -> Dataset:
    """Group the images where no split has: a detector that saw a picture of the scene agrees with its labels.

    Raises:
        DatasetError: a picture cannot be read.
    """
    if all(image.group is not None for image in dataset.images):
        return dataset
    prints = fingerprint_images(root, dataset.images)
    names = group_names(dataset.images, near_pairs(prints, duplicates))
    grouped = (replace(image, group=name) for image, name in zip(dataset.images, names, strict=True))
    return replace(dataset, images=tuple(grouped))


def _out_of_fold(
    root: Path, dataset: Dataset, params: Params, recipe: TrainParams, fold: int, folds: int, scratch: Path
) -> dict[str, Detections]:
    """Return what a detector that never saw the fold finds in it, by file name, in pixels of the pictures."""
    kept = scratch / "detections.npz"
    held_out = [image for image in dataset.images if fold_of(image, folds) == fold]
    if kept.is_file():
        with np.load(kept) as stored:
            return {
                image.file_name: Detections(stored[f"{row}-boxes"], stored[f"{row}-scores"], stored[f"{row}-ids"])
                for row, image in enumerate(held_out)
            }
    scratch.mkdir(parents=True, exist_ok=True)
    divided = without_fold(dataset, fold, folds)
    # one process: others would run the whole command, and write the same queue
    model = train(root, divided, params.model, recipe, scratch=scratch, devices=1).model.fold()
    size = params.model.input_size
    found: dict[str, Detections] = {}
    arrays: dict[str, NDArray[np.generic]] = {}
    for row, image in enumerate(held_out):
        seen = torch_detections(model, load_picture(root, image.file_name, size))
        scale = np.array([image.width / size[1], image.height / size[0]] * 2, np.float32)
        mine = Detections((seen.boxes_xyxy * scale).astype(np.float32), seen.scores, seen.class_ids)
        found[image.file_name] = mine
        arrays |= {f"{row}-boxes": mine.boxes_xyxy, f"{row}-scores": mine.scores, f"{row}-ids": mine.class_ids}
    np.savez(scratch / "partial.npz", **arrays)  # type: ignore[arg-type]
    (scratch / "partial.npz").replace(kept)
    return found


def _picture(root: Path, image: ImageRecord, suspect: Suspect, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the surroundings of a suspect: labels in green, the suggestion in its colour, and why."""
    pixels = load_picture(root, image.file_name, (image.height, image.width))
    known = image.of_classes(classes)
    truth = Truth(known.boxes_xyxy(), known.class_ids(classes))
    boxes = [] if suspect.suggested_xyxy is None else [suspect.suggested_xyxy]
    shown = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), suspect.doubt, np.float32),
        np.full(len(boxes), classes.index(suspect.class_name), np.int64),
    )
    drawn = draw_detections(pixels, shown, classes, truth)
    x1, y1, x2, y2 = suspect.suggested_xyxy or image.boxes[suspect.label or 0].xyxy
    grow_x, grow_y = _AROUND * max(x2 - x1, 20), _AROUND * max(y2 - y1, 20)
    left, top = max(0, int(x1 - grow_x)), max(0, int(y1 - grow_y))
    cut = np.ascontiguousarray(drawn[top : int(y2 + grow_y), left : int(x2 + grow_x)])
    height, width = _CELL
    scale = min((width - 4) / cut.shape[1], (height - 4) / cut.shape[0])
    large = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    text = f"{suspect.kind}: {suspect.class_name} {suspect.doubt:.2f}"
    cv2.putText(large, text, (6, large.shape[0] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(large, text, (6, large.shape[0] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(large, np.uint8)
