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
from PIL import Image, ImageOps

from shelfgap_datasets.coco import IMAGES_DIR, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.pictures import link_picture, read_picture, shard_index, unlisted_pictures
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord

_CELLS = 6  # along the longer side of a box; far too few for a face, whatever its size
_LEVELS = 16  # colours are rounded to multiples of this
_MARGIN = 0.03  # of the box, since hair and sleeves stick out
_QUALITY = 95
_TOLERANCE = 8.0  # mean levels that JPEG may add to a pixelated box
_UNSEEN = ("synthetic", "no-persons")  # bases under which nobody is in the pictures


@dataclass(frozen=True)
class RedactionReport:
    """Pictures in which something was pixelated now, those that had been before, boxes pixelated, and pictures left.

    The latter are those that no record names: nobody knows what they show, and they stay as they are.
    """

    redacted: int
    already: int
    boxes: int
    unlisted: int


def redact_dataset(root: Path, progress: Callable[[int, int], None] | None = None) -> RedactionReport:
    """Pixelate every `occluder` box of a dataset, in place; pictures without one keep their bytes.

    The directory is replaced as a whole at the end, so an interrupted run changes nothing. A redacted picture is
    written anew without its metadata, whose thumbnail would still show the shopper; its SHA-256 changes with it. Copies
    elsewhere (the source, caches of earlier versions) are not touched. Bad records are set aside in `rejected.jsonl`.

    Args:
        root: dataset directory.
        progress: called with (pictures done, pictures in all).

    Raises:
        DatasetError: no dataset, its pictures are packed, or one cannot be read or written, or is not of its record's
            size.
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
            elif entry.name != IMAGES_DIR:  # a history of versions, notes: not ours to lose
                shutil.copytree(entry, partial / entry.name, symlinks=True)
        unlisted = unlisted_pictures(root, dataset)
        for name in unlisted:
            _link(root, name, partial)
        for done, record in enumerate(dataset.images, start=1):
            mine = occluders(record)
            if len(mine) and not record.redacted:
                data = _redacted_file(root, record, mine)
                _place(record.file_name, partial).write_bytes(data)
                record = replace(record, sha256=hashlib.sha256(data).hexdigest(), redacted=True)
                boxes += len(mine)
            else:
                already += record.redacted
                _link(root, record.file_name, partial)
            images.append(record)
            if progress is not None:
                progress(done, len(dataset.images))
        save_dataset(partial, replace(dataset, images=tuple(images)))
    return RedactionReport(sum(i.redacted for i in images) - already, already, boxes, len(unlisted))


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
    for box in boxes_xyxy:
        region = out[_cover(box, out.shape[:2], _MARGIN)]
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
        elif len(boxes) and not _is_pixelated(_read(root, record), boxes):
            problems.append(f"{record.file_name}: the record says redacted, the pixels do not")
    return problems


def _place(file_name: str, partial: Path) -> Path:
    target = partial / IMAGES_DIR / file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _link(root: Path, file_name: str, partial: Path) -> None:
    link_picture(root, file_name, _place(file_name, partial))


def _redacted_file(root: Path, record: ImageRecord, boxes_xyxy: NDArray[np.float32]) -> bytes:
    image = Image.fromarray(pixelate(_read(root, record), boxes_xyxy))
    stream = io.BytesIO()
    if record.file_name.lower().endswith(".png"):
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def _cover(box_xyxy: NDArray[np.float32], size: tuple[int, int], margin: float) -> tuple[slice, slice]:
    """Return rows and columns of the pixels that a box with a margin touches, at least one of each."""
    height, width = size
    x1, y1, x2, y2 = box_xyxy.astype(float)
    grow_x, grow_y = margin * (x2 - x1), margin * (y2 - y1)
    left, top = (min(max(0, int(np.floor(v))), most - 1) for v, most in ((x1 - grow_x, width), (y1 - grow_y, height)))
    right, bottom = min(width, int(np.ceil(x2 + grow_x))), min(height, int(np.ceil(y2 + grow_y)))
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _is_pixelated(image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> bool:
    """Say whether pixelating once more would leave the boxes about as they are."""
    again = pixelate(image, boxes_xyxy)
    for box in boxes_xyxy:
        covered = _cover(box, image.shape[:2], 0.0)
        if np.abs(image[covered].astype(int) - again[covered]).mean() > _TOLERANCE:
            return False
    return True


def _read(root: Path, record: ImageRecord) -> NDArray[np.uint8]:
    """Return the pixels of a picture as it is displayed, where its boxes lie."""
    path = root / IMAGES_DIR / record.file_name
    try:
        with Image.open(io.BytesIO(read_picture(root, record.file_name))) as image:
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise DatasetError(f"{path}: not readable ({error}); run: shelfgap data check --quarantine") from None
    height, width = pixels.shape[:2]
    if (height, width) != (record.height, record.width):
        raise DatasetError(
            f"{path}: the record says {record.width}x{record.height}, the picture is {width}x{height}; run: "
            "shelfgap data check --quarantine"
        )
    return pixels
