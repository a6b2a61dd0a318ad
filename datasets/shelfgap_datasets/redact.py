"""Take shoppers out of training data: every `occluder` box is pixelated beyond recovery, and the record says so."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfgap_datasets.coco import IMAGES_DIR, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.pictures import link_picture, read_picture, shard_index
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord

_CELLS = 6  # along the longer side of a box; far too few for a face, whatever its size
_LEVELS = 16  # colours are rounded to multiples of this
_MARGIN = 0.03  # of the box, since hair and sleeves stick out
_QUALITY = 95
_TOLERANCE = 8.0  # mean levels that JPEG may add to a pixelated box
_UNSEEN = ("synthetic", "no-persons")  # bases under which nobody is in the pictures


@dataclass(frozen=True)
class RedactionReport:
    """Pictures in which something was pixelated now, those that had been before, and boxes pixelated."""

    redacted: int
    already: int
    boxes: int


def redact_dataset(root: Path, progress: Callable[[int, int], None] | None = None) -> RedactionReport:
    """Pixelate every `occluder` box of a dataset, in place; pictures without one keep their bytes.

    The directory is replaced as a whole at the end, so an interrupted run changes nothing. A redacted picture is
    written anew without its metadata, whose thumbnail would still show the shopper; its SHA-256 changes with it. Copies
    elsewhere (the source, caches of earlier versions) are not touched.

    Args:
        root: dataset directory.
        progress: called with (pictures done, pictures in all).

    Raises:
        DatasetError: no dataset, its pictures are packed, or one cannot be read or written.
    """
    dataset = load_dataset(root)
    if shard_index(root) is not None:
        raise DatasetError(f"{root}: its pictures are packed; redact the directory that was packed, then pack it again")
    images: list[ImageRecord] = []
    boxes = already = 0
    with written_whole(root) as partial:
        for entry in root.iterdir():
            if entry.is_file():
                shutil.copyfile(entry, partial / entry.name)
        for done, record in enumerate(dataset.images, start=1):
            target = partial / IMAGES_DIR / record.file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            mine = occluders(record)
            if len(mine) and not record.redacted:
                data = _redacted_file(root, record.file_name, mine)
                target.write_bytes(data)
                record = replace(record, sha256=hashlib.sha256(data).hexdigest(), redacted=True)
                boxes += len(mine)
            else:
                already += record.redacted
                link_picture(root, record.file_name, target)
            images.append(record)
            if progress is not None:
                progress(done, len(dataset.images))
        now = replace(dataset, images=tuple(images), rejections=())
        save_dataset(partial, now)
    return RedactionReport(sum(i.redacted for i in images) - already, already, boxes)


def occluders(record: ImageRecord) -> NDArray[np.float32]:
    """Return the boxes of a picture that may show a person, float32 (N, 4)."""
    return record.of_classes(("occluder",)).boxes_xyxy()


def pixelate(image_rgb: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a copy of a picture in which each box is a few cells of even, rounded colour.

    Args:
        image_rgb: uint8 (H, W, 3).
        boxes_xyxy: float32 (N, 4), absolute pixels; a small margin is added.
    """
    out = image_rgb.copy()
    height, width = out.shape[:2]
    for x1, y1, x2, y2 in boxes_xyxy.astype(float):
        grow_x, grow_y = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
        left, top = max(0, int(np.floor(x1 - grow_x))), max(0, int(np.floor(y1 - grow_y)))
        right, bottom = min(width, int(np.ceil(x2 + grow_x))), min(height, int(np.ceil(y2 + grow_y)))
        region = out[top:bottom, left:right]
        cell = max(region.shape[:2]) / _CELLS
        cells = (max(1, round(region.shape[1] / cell)), max(1, round(region.shape[0] / cell)))
        mean = np.asarray(cv2.resize(region, cells, interpolation=cv2.INTER_AREA), np.float32).reshape(*cells[::-1], 3)
        even = np.clip(np.round(mean / _LEVELS) * _LEVELS, 0, 255).astype(np.uint8)
        region[:] = cv2.resize(even, region.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return out


def redaction_problems(root: Path, dataset: Dataset) -> list[str]:
    """Say where a dataset may still show a shopper, a line a picture; nothing is believed that can be looked at.

    Pictures on the basis `synthetic` or `no-persons` need no redaction. For the others `occluder` must have been
    labelled, and every such box must be pixelated, in the record and in the pixels.
    """
    problems = []
    for record in dataset.images:
        if record.consent in _UNSEEN:
            continue
        boxes = occluders(record)
        if "occluder" not in dataset.annotated_classes or not record.is_labelled("occluder"):
            problems.append(f"{record.file_name}: occluder was not labelled, so it may show a shopper anywhere")
        elif len(boxes) and not record.redacted:
            problems.append(f"{record.file_name}: {len(boxes)} occluder box(es) not redacted")
        elif len(boxes) and not _is_pixelated(_read(root, record.file_name), boxes):
            problems.append(f"{record.file_name}: the record says redacted, the pixels do not")
    return problems


def _redacted_file(root: Path, file_name: str, boxes_xyxy: NDArray[np.float32]) -> bytes:
    image = Image.fromarray(pixelate(_read(root, file_name), boxes_xyxy))
    stream = io.BytesIO()
    if file_name.lower().endswith(".png"):
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def _is_pixelated(image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> bool:
    """Say whether pixelating once more would leave the boxes about as they are."""
    again = pixelate(image, boxes_xyxy)
    for x1, y1, x2, y2 in boxes_xyxy.astype(int):
        one, two = image[y1 : y2 + 1, x1 : x2 + 1], again[y1 : y2 + 1, x1 : x2 + 1]
        if np.abs(one.astype(int) - two).mean() > _TOLERANCE:
            return False
    return True


def _read(root: Path, file_name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(read_picture(root, file_name))) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise DatasetError(
            f"{root / IMAGES_DIR / file_name}: not readable ({error}); run: shelfgap data check --quarantine"
        ) from None
