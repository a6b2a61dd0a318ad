"""Import a labelled source folder, whatever its format, into the dataset contract."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from shelfgap_edge.contract import CLASSES
from shelfgap_edge.geometry import iou_matrix

from shelfgap_datasets.coco import ANNOTATIONS_FILE, IMAGES_DIR, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.class_names import map_names
from shelfgap_datasets.intake.coco import read_coco
from shelfgap_datasets.intake.createml import read_createml
from shelfgap_datasets.intake.model import FIX_ANNOTATION, FIX_BOX, Reading, SourceBox, SourceImage
from shelfgap_datasets.intake.pictures import Picture, PictureProblem, open_picture, turn_box
from shelfgap_datasets.intake.tree import SourceTree, scan
from shelfgap_datasets.intake.voc import read_voc
from shelfgap_datasets.intake.yolo import read_yolo
from shelfgap_datasets.schema import (
    Box,
    Dataset,
    DatasetError,
    ImageRecord,
    Rejection,
    box_problem,
    clip_box,
)

Format = Literal["auto", "coco", "yolo", "voc", "createml"]
UNKNOWN_LICENSE = "unknown"
IMPORT_FILE = "import.json"
_SAME_BOX_IOU = 0.5  # two labellers of one picture meant the same thing


@dataclass(frozen=True)
class ImportReport:
    """What an import found.

    Attributes:
        format: the annotation format.
        images: pictures kept.
        boxes: boxes kept, by our class.
        unmapped: boxes left out, by class name of the source that no alias maps.
        rejected: records left out; each stands in `rejected.jsonl`.
        merged: pictures that were byte for byte another one.
        warnings: what the user should know.
    """

    format: str
    images: int
    boxes: dict[str, int]
    unmapped: dict[str, int]
    rejected: int
    merged: int
    warnings: tuple[str, ...]


def import_source(
    source: Path,
    to: Path,
    *,
    class_aliases: Mapping[str, Iterable[str]],
    format: Format = "auto",
    class_map: Mapping[str, str] | None = None,
    license: str | None = None,
    store: str | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import the labelled pictures below a folder; several sets below it become one dataset.

    Bad records are set aside in `rejected.jsonl`. Splits of the source are dropped: they often leak. Importing
    again gives the same bytes.

    Args:
        source: the folder.
        to: dataset directory to make; an earlier import there is replaced.
        class_aliases: our class -> names in sources.
        format: of the annotations; found out by default.
        class_map: source name -> our class, before the aliases.
        license: of every picture; else what the source states, else "unknown".
        store: key of the store, for pictures that name none.
        strict: refuse class names that nothing maps.
        progress: called with (pictures done, pictures in all).

    Raises:
        DatasetError: no such folder, nothing usable in it, unclear format or classes, or `to` holds other files.
    """
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder")
    _refuse_target(source, to)
    try:
        tree = scan(source)
    except OSError as error:
        raise DatasetError(f"{source}: cannot be listed ({error.strerror})") from None
    if not tree.pictures:
        raise DatasetError(f"{source}: no pictures in this folder; expected labelled photographs")
    reading = _read(tree, source, format)
    names = map_names(reading.class_names, class_aliases, class_map)
    counts = Counter(box.label for image in reading.images for box in image.boxes)
    unmapped = {name: counts[name] for name in sorted(reading.class_names) if name not in names}
    listed = ", ".join(f"{name} ({count} boxes)" for name, count in unmapped.items())
    if unmapped and strict:
        raise DatasetError(f"{source}: no class for {listed}; map them with --class-map 'NAME=gap'")
    if not names:
        found = f"found {listed}" if listed else "no class names found"
        raise DatasetError(
            f"{source}: no class name means {', '.join(CLASSES)}; {found}; map with --class-map 'NAME=gap'"
        )

    rejections = [*tree.rejections, *reading.rejections]
    by_picture: dict[str, list[SourceImage]] = {}
    for image in reading.images:
        by_picture.setdefault(image.picture, []).append(image)
    rejections += [
        Rejection(picture, "a picture without an annotation", "label it; an empty annotation says: nothing here")
        for picture in tree.pictures
        if picture not in by_picture
    ]
    records: dict[str, ImageRecord] = {}  # by SHA-256
    taken: set[str] = set()
    merged = 0
    with written_whole(to) as partial:
        (partial / IMAGES_DIR).mkdir()
        for done, (path, images) in enumerate(sorted(by_picture.items()), start=1):
            if progress is not None:
                progress(done, len(by_picture))
            try:
                picture = open_picture(tree.root / path)
            except PictureProblem as problem:
                rejections.append(Rejection(path, problem.reason, problem.action))
                continue
            boxes, problems = _boxes(path, picture, images, names)
            rejections += problems
            if boxes is None:
                continue
            digest = hashlib.sha256(picture.data).hexdigest()
            if digest in records:
                merged += 1
                first = records[digest]
                records[digest] = replace(first, boxes=_union(first.boxes, boxes))
                continue
            name = _free_name(path, picture.suffix, taken)
            target = partial / IMAGES_DIR / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture.data)
            records[digest] = ImageRecord(
                file_name=name,
                width=picture.size[1],
                height=picture.size[0],
                sha256=digest,
                license=license or _stated(images, "license") or UNKNOWN_LICENSE,
                source=path,
                store=_stated(images, "store") or store,
                camera=_stated(images, "camera"),
                section=_stated(images, "section"),
                captured_at=_stated(images, "captured_at"),
                boxes=boxes,
            )
        if not records:
            first_reason = f"; first reason: {rejections[0].source}: {rejections[0].reason}" if rejections else ""
            raise DatasetError(f"{source}: no usable picture with an annotation{first_reason}")
        annotated = tuple(name for name in CLASSES if name in names.values())
        dataset = Dataset(tuple(records.values()), annotated, tuple(rejections))
        save_dataset(partial, dataset)
        report = _report(reading.format, dataset, unmapped, merged)
        (partial / IMPORT_FILE).write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _read(tree: SourceTree, source: Path, format: Format) -> Reading:
    """Read the annotations in the wanted format, or in the only one found."""
    documents, broken = _json_documents(tree) if format in ("auto", "coco", "createml") else ({}, [])
    readers: dict[str, Callable[[], Reading]] = {
        "coco": lambda: read_coco(tree, documents),
        "createml": lambda: read_createml(tree, documents),
        "voc": lambda: read_voc(tree),
        "yolo": lambda: read_yolo(tree, wanted=format == "yolo"),
    }
    wanted = readers if format == "auto" else {format: readers[format]}
    found = [reading for read in wanted.values() if (reading := read()).files]
    if not found:
        what = "annotations" if format == "auto" else f"annotations in the format {format}"
        hint = f"; first problem: {broken[0].source}: {broken[0].reason}" if broken else ""
        raise DatasetError(
            f"{source}: {len(tree.pictures)} pictures but no {what} (known: COCO, YOLO, VOC, CreateML){hint}"
        )
    if len(found) > 1:
        kinds = " and ".join(reading.format for reading in found)
        raise DatasetError(f"{source}: annotations in {kinds}; say which counts with --format")
    reading = found[0]
    reading.rejections.extend(broken)
    if not reading.images:
        first = reading.rejections[0] if reading.rejections else None
        reason = f"; first problem: {first.source}: {first.reason}" if first else ""
        raise DatasetError(f"{source}: no {reading.format} annotation belongs to a picture{reason}")
    return reading


def _json_documents(tree: SourceTree) -> tuple[dict[str, Any], list[Rejection]]:
    documents: dict[str, Any] = {}
    broken: list[Rejection] = []
    for path in tree.annotations:
        if PurePosixPath(path).suffix.lower() == ".json":
            try:
                documents[path] = json.loads(tree.read(path))
            except (OSError, ValueError, RecursionError) as error:
                reason = f"not readable as JSON ({' '.join(str(error).split())})"
                broken.append(Rejection(path, reason, FIX_ANNOTATION))
    return documents, broken


def _boxes(
    path: str, picture: Picture, images: list[SourceImage], names: Mapping[str, str]
) -> tuple[tuple[Box, ...] | None, list[Rejection]]:
    """Return the boxes of one picture in displayed pixels; None when an annotation speaks of another size."""
    height, width = picture.size
    kept: tuple[Box, ...] = ()
    problems: list[Rejection] = []
    for image in images:
        stated = image.stated_size
        if stated not in (None, picture.size, picture.stored_size):
            reason = f"the annotation speaks of {stated[1]}x{stated[0]}, the picture is {width}x{height}"
            return None, [Rejection(path, reason, "label the picture in its own size")]
        # A tool that gives the size before rotation also counted its boxes there.
        is_unturned = stated == picture.stored_size != picture.size
        mine = []
        for box in image.boxes:
            if box.label not in names:
                continue
            xyxy = _pixels(box, image, picture, is_unturned)
            problem = box_problem(xyxy, width, height)
            if problem:
                problems.append(Rejection(box.where, problem, FIX_BOX))
            else:
                mine.append(Box(names[box.label], clip_box(xyxy, width, height)))
        kept = _union(kept, tuple(dict.fromkeys(mine)))
    return kept, problems


def _pixels(
    box: SourceBox, image: SourceImage, picture: Picture, is_unturned: bool
) -> tuple[float, float, float, float]:
    if image.boxes_are_fractions:
        height, width = picture.size
        x1, y1, x2, y2 = box.xyxy
        return x1 * width, y1 * height, x2 * width, y2 * height
    return turn_box(box.xyxy, picture.orientation, picture.stored_size) if is_unturned else box.xyxy


def _union(first: tuple[Box, ...], second: tuple[Box, ...]) -> tuple[Box, ...]:
    """Join the boxes of two labellings of one picture: of two that mean the same, the first stays."""
    if not first:
        return second
    added = []
    for box in second:
        rivals = [other.xyxy for other in first if other.class_name == box.class_name]
        if (
            not rivals
            or iou_matrix(np.array([box.xyxy], np.float32), np.array(rivals, np.float32)).max() < _SAME_BOX_IOU
        ):
            added.append(box)
    return (*first, *added)


def _stated(images: list[SourceImage], key: str) -> str | None:
    return next((value for image in images if (value := getattr(image, key))), None)


def _free_name(path: str, suffix: str, taken: set[str]) -> str:
    """Return the path below the source with the stored suffix; numbered when another picture has it."""
    stem, old = posixpath.splitext(path)
    name = path if old.lower() in (suffix, ".jpeg" if suffix == ".jpg" else suffix) else stem + suffix
    number = 2
    while name.lower() in taken:
        name = f"{stem}-{number}{suffix}"
        number += 1
    taken.add(name.lower())
    return name


def _report(format: str, dataset: Dataset, unmapped: dict[str, int], merged: int) -> ImportReport:
    warnings = []
    unknown = sum(image.license == UNKNOWN_LICENSE for image in dataset.images)
    if unknown:
        warnings.append(f"{unknown} pictures without a stated licence; name it with --license")
    if unmapped:
        listed = ", ".join(f"{name} ({count} boxes)" for name, count in unmapped.items())
        warnings.append(f"class names left out: {listed}")
    boxes = Counter(box.class_name for image in dataset.images for box in image.boxes)
    return ImportReport(
        format=format,
        images=len(dataset.images),
        boxes={name: boxes[name] for name in dataset.annotated_classes},
        unmapped=unmapped,
        rejected=len(dataset.rejections),
        merged=merged,
        warnings=tuple(warnings),
    )


def _refuse_target(source: Path, to: Path) -> None:
    """Refuse a target that would destroy something."""
    here, there = source.resolve(), to.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DatasetError(f"{to}: lies inside the source, or the source inside it; choose another folder")
    if not to.exists():
        return
    if not to.is_dir():
        raise DatasetError(f"{to}: is a file; choose a folder that does not exist yet")
    if not any(to.iterdir()) or (to / IMPORT_FILE).is_file():
        return
    try:
        load_dataset(to)
    except DatasetError:
        raise DatasetError(f"{to}: not empty and no earlier import; choose another folder") from None
    raise DatasetError(
        f"{to}: holds a dataset that was not imported ({ANNOTATIONS_FILE} without {IMPORT_FILE}); choose another folder"
    )
