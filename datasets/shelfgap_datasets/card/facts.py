"""The figures of a dataset card."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfgap_datasets.coco import load_dataset, load_rejections
from shelfgap_datasets.duplicates import join_groups, near_pairs
from shelfgap_datasets.fingerprint import fingerprint_images
from shelfgap_datasets.frames import load_picture
from shelfgap_datasets.params import DuplicateParams
from shelfgap_datasets.schema import IGNORE, SPLITS, UNSTATED, Dataset, ImageRecord

COLOURS = {"gap": "#d7263d", "low": "#f4a261", "occluder": "#2a6fdb", "product": "#2a9d57", "ignore": "#8d99ae"}
_GRID = (12, 16)  # cells of the map of positions, (rows, columns)
_THUMBNAIL_PX = 300  # longer side
_LUMA_PX = (48, 48)
_DARK, _BRIGHT = 60, 195  # mean luma below and above which a picture is worth a look
_TINY_SHARE = 0.0005  # of the picture; a smaller box is a few pixels at the detector's input


@dataclass(frozen=True)
class Histogram:
    """Shares of a quantity by class: labels of the bins, and counts for each class."""

    title: str
    bins: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Facts:
    """What a dataset card shows."""

    name: str
    images: int
    splits: dict[str, int]
    groups: dict[str, int]  # by split
    largest_groups: tuple[tuple[str, int], ...]
    boxes: dict[str, dict[str, int]]  # class -> split -> boxes
    without_boxes: int
    sizes: tuple[tuple[str, int], ...]  # of pictures, the most frequent
    licenses: tuple[tuple[str, int], ...]
    consents: tuple[tuple[str, int], ...]
    stores: int
    cameras: int
    redacted: int
    histograms: tuple[Histogram, ...]
    positions: dict[str, NDArray[np.float32]]  # class -> (12, 16), share of pictures whose boxes cover the cell
    duplicates: tuple[tuple[str, ...], ...]  # groups of near-duplicates, largest first
    thumbnails: tuple[tuple[str, str], ...]  # file name, data URL
    faults: tuple[str, ...]
    rejections: tuple[tuple[str, int], ...]  # reason, records


def collect_facts(
    root: Path,
    duplicates: DuplicateParams,
    *,
    pictures: int = 24,
    progress: Callable[[int, int], None] | None = None,
) -> Facts:
    """Read a dataset directory and work out the figures of its card.

    Args:
        root: dataset directory.
        duplicates: when two pictures are near-duplicates.
        pictures: pictures shown, spread over splits and classes.
        progress: called with (pictures read, pictures in all).

    Raises:
        DatasetError: no dataset, or a picture cannot be read.
    """
    dataset = load_dataset(root)
    images = dataset.images
    prints = fingerprint_images(root, images, progress)
    with ThreadPoolExecutor() as pool:
        luma = list(pool.map(lambda image: _luma(root, image), images))
    joined = join_groups(len(images), near_pairs(prints, duplicates)).tolist()
    members: dict[int, list[str]] = {}
    for image, group in zip(images, joined, strict=True):
        members.setdefault(group, []).append(image.file_name)
    sides = (*SPLITS, "none")
    placed = ((box.class_name, image.split or "none") for image in images for box in image.boxes)
    boxes: Counter[tuple[str, str]] = Counter(placed)
    groups = {(image.group, image.split) for image in images if image.group}
    rejections = Counter(row.reason for row in (*load_rejections(root), *dataset.rejections))
    return Facts(
        name=root.resolve().name,
        images=len(images),
        splits=_counted((image.split or "none" for image in images), sides),
        groups=_counted((side or "none" for _, side in groups), sides),
        largest_groups=tuple(Counter(i.group for i in images if i.group).most_common(5)),
        boxes={name: {side: boxes[name, side] for side in sides} for name in dataset.annotated_classes},
        without_boxes=sum(not image.boxes for image in images),
        sizes=tuple(Counter(f"{i.width} x {i.height}" for i in images).most_common(5)),
        licenses=tuple(Counter(image.license or UNSTATED for image in images).most_common()),
        consents=tuple(Counter(image.consent or UNSTATED for image in images).most_common()),
        stores=len({image.store for image in images if image.store}),
        cameras=len({image.camera for image in images if image.camera}),
        redacted=sum(image.redacted for image in images),
        histograms=_histograms(dataset, luma),
        positions={name: _positions(images, name) for name in dataset.annotated_classes},
        duplicates=tuple(sorted((tuple(m) for m in members.values() if len(m) > 1), key=lambda m: (-len(m), m))),
        thumbnails=tuple((i.file_name, _thumbnail(root, i)) for i in _choose(dataset, pictures)),
        faults=tuple(_faults(dataset, luma, members)),
        rejections=tuple(rejections.most_common()),
    )


def _counted(values: Iterable[str], order: Sequence[str]) -> dict[str, int]:
    counts = Counter(values)
    return {name: counts[name] for name in order if counts[name]}


def _luma(root: Path, record: ImageRecord) -> float:
    grey = cv2.cvtColor(load_picture(root, record.file_name, _LUMA_PX), cv2.COLOR_RGB2GRAY)
    return float(grey.mean())


def _histograms(dataset: Dataset, luma: Sequence[float]) -> tuple[Histogram, ...]:
    area: dict[str, list[float]] = {name: [] for name in dataset.annotated_classes}
    aspect: dict[str, list[float]] = {name: [] for name in dataset.annotated_classes}
    per_image: dict[str, list[float]] = {name: [] for name in dataset.annotated_classes}
    for image in dataset.images:
        for name in dataset.annotated_classes:
            mine = image.of_classes((name,)).boxes
            per_image[name].append(len(mine))
            for box in mine:
                x1, y1, x2, y2 = box.xyxy
                area[name].append(100 * (x2 - x1) * (y2 - y1) / (image.width * image.height))
                aspect[name].append((x2 - x1) / (y2 - y1))
    light: dict[str, list[float]] = {}
    for image, value in zip(dataset.images, luma, strict=True):
        light.setdefault(image.split or "none", []).append(value)
    return (
        _histogram("Area, % of the picture", area, (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)),
        _histogram("Width by height", aspect, (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5)),
        _histogram("Boxes a picture", per_image, (1, 2, 3, 4, 6, 8, 12, 20)),
        _histogram("Light: mean luma by split", light, (30, 60, 90, 120, 150, 180, 210)),
    )


def _histogram(title: str, values: dict[str, list[float]], edges: tuple[float, ...]) -> Histogram:
    bins = (f"< {edges[0]:g}", *(f"{edge:g}" for edge in edges))
    counts = {}
    for name, listed in values.items():
        places = np.searchsorted(np.array(edges), np.array(listed), side="right")
        counts[name] = tuple(np.bincount(places, minlength=len(bins)).tolist())
    return Histogram(title, bins, counts)


def _positions(images: Sequence[ImageRecord], class_name: str) -> NDArray[np.float32]:
    rows, columns = _GRID
    covered = np.zeros(_GRID, np.float32)
    for image in images:
        mine = np.zeros(_GRID, np.bool_)
        for box in image.of_classes((class_name,)).boxes:
            x1, y1, x2, y2 = box.xyxy
            top, bottom = int(y1 / image.height * rows), int(np.ceil(y2 / image.height * rows))
            left, right = int(x1 / image.width * columns), int(np.ceil(x2 / image.width * columns))
            mine[top:bottom, left:right] = True
        covered += mine
    return covered / np.float32(max(1, len(images)))


def _choose(dataset: Dataset, count: int) -> list[ImageRecord]:
    """Choose pictures: of each class in turn, spread over the dataset, and a few without a box."""
    waiting = {
        name: sorted(
            (i for i in dataset.images if any(b.class_name == name for b in i.boxes)),
            key=lambda image: image.sha256,
        )
        for name in dataset.annotated_classes
    }
    empty = sorted((i for i in dataset.images if not i.boxes), key=lambda image: image.sha256)
    waiting["none"] = empty[: count // 6]
    chosen: dict[str, ImageRecord] = {}
    while len(chosen) < count and any(waiting.values()):
        for listed in waiting.values():
            if listed and len(chosen) < count:
                image = listed.pop(0)
                chosen.setdefault(image.file_name, image)
    return list(chosen.values())


def _thumbnail(root: Path, record: ImageRecord) -> str:
    scale = min(1.0, _THUMBNAIL_PX / max(record.width, record.height))
    size = (max(1, round(record.height * scale)), max(1, round(record.width * scale)))
    picture = load_picture(root, record.file_name, size)
    for box in record.boxes:
        red, green, blue = (int(COLOURS[box.class_name][i : i + 2], 16) for i in (1, 3, 5))
        (x1, y1), (x2, y2) = ((round(box.xyxy[i] * scale), round(box.xyxy[i + 1] * scale)) for i in (0, 2))
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), (red, green, blue), 2)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _faults(dataset: Dataset, luma: Sequence[float], members: dict[int, list[str]]) -> list[str]:
    """Name what the data itself shows to be doubtful."""
    images = dataset.images
    faults = []

    def add(count: int, text: str) -> None:
        if count:
            faults.append(f"{count} {text}")

    add(sum(i.license in ("", UNSTATED) for i in images), "pictures without a stated licence")
    add(sum(i.consent in ("", UNSTATED) for i in images), "pictures without a stated consent basis")
    add(sum(i.split is None for i in images), "pictures in no split")
    add(sum(v < _DARK for v in luma), f"dark pictures (mean luma below {_DARK})")
    add(sum(v > _BRIGHT for v in luma), f"bright pictures (mean luma above {_BRIGHT})")
    tiny = sum(
        (b.xyxy[2] - b.xyxy[0]) * (b.xyxy[3] - b.xyxy[1]) < _TINY_SHARE * i.width * i.height
        for i in images
        for b in i.boxes
    )
    add(tiny, f"boxes below {_TINY_SHARE:.2%} of the picture")
    add(sum(len(m) - 1 for m in members.values()), "pictures that nearly repeat another")
    side = {image.file_name: image.split for image in images}
    add(sum(len({side[name] for name in m}) > 1 for m in members.values()), "scenes on two sides of the split")
    for name in dataset.annotated_classes:
        if name != IGNORE and not any(b.class_name == name for i in images for b in i.boxes):
            faults.append(f"the class {name} was labelled but never seen")
    return faults
