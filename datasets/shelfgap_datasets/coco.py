"""Read and write the dataset contract: a directory with `images/` and one COCO `annotations.json`.

Source: COCO data format, https://cocodataset.org/#format-data
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from shelfgap_edge.durable import write_durably

from shelfgap_datasets.directory import replaced_path
from shelfgap_datasets.schema import (
    LABEL_CLASSES,
    SPLITS,
    Box,
    Dataset,
    DatasetError,
    ImageRecord,
    Rejection,
    Twin,
    box_problem,
    clip_box,
)

ANNOTATIONS_FILE = "annotations.json"
IMAGES_DIR = "images"
REJECTED_FILE = "rejected.jsonl"
VERSION_FILE = "version.json"  # marks a version of a workspace: its splits are history and must not change
_MOST_PIXELS = 2**31  # along a side; no picture has as many, and float arithmetic takes them
_T = TypeVar("_T")
_OPTIONAL_KEYS = ("store", "camera", "section", "captured_at", "group")


def load_dataset(root: Path) -> Dataset:
    """Load a dataset directory; bad records are set aside in `Dataset.rejections`, the rest is kept.

    Only `annotations.json` is read; `checks` opens the images.

    Raises:
        DatasetError: the folder or its annotations are missing or not COCO, or no image record is usable.
    """
    path = root / ANNOTATIONS_FILE
    if not root.is_dir():
        left = replaced_path(root)
        hint = f"; a command that was killed left it as {left}, rename that" if left.is_dir() else ""
        raise DatasetError(f"{root}: no such folder{hint}")
    if not path.is_file():
        raise DatasetError(
            f"{root}: no {ANNOTATIONS_FILE}; expected a dataset directory "
            f"(make one with: shelfgap data import {root} --to DIR)"
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from None
    dataset = parse_coco(raw, where=str(path))
    if not dataset.images:
        first = f"; first reason: {dataset.rejections[0].reason}" if dataset.rejections else ""
        raise DatasetError(f"{path}: no usable image record{first}")
    return dataset


def annotations_hash(root: Path) -> str:
    """Return the SHA-256 (hex) of the annotations of a dataset, which hold the hash and the split of every image."""
    return hashlib.sha256((root / ANNOTATIONS_FILE).read_bytes()).hexdigest()


def parse_coco(raw: object, where: str) -> Dataset:
    """Turn a parsed COCO object of the dataset contract into a `Dataset`.

    Args:
        raw: what `json.loads` returned.
        where: name used in messages.

    Raises:
        DatasetError: not a COCO object at all; single bad records become rejections instead.
    """
    if not isinstance(raw, dict) or not all(
        isinstance(raw.get(k), list) for k in ("images", "annotations", "categories")
    ):
        raise DatasetError(f"{where}: expected a COCO object with the lists images, annotations, categories")
    rejections: list[Rejection] = []
    names = {
        c["id"]: c["name"]
        for c in raw["categories"]
        if isinstance(c, dict) and isinstance(c.get("id"), int) and isinstance(c.get("name"), str)
    }
    annotated = raw.get("annotated_classes", [n for n in names.values() if n in LABEL_CLASSES])
    if not isinstance(annotated, list) or not all(isinstance(n, str) for n in annotated):
        raise DatasetError(f"{where}: annotated_classes must be a list of class names, got {annotated!r}")
    if not isinstance(raw.get("licenses") or [], list):
        raise DatasetError(f"{where}: licenses must be a list, got {raw['licenses']!r}")
    if not annotated or len(set(annotated)) < len(annotated) or not set(annotated) <= set(LABEL_CLASSES):
        found = ", ".join(annotated or names.values()) or "none"
        raise DatasetError(
            f"{where}: the classes must be distinct ones of {', '.join(LABEL_CLASSES)}, got {found}; "
            "import the folder: shelfgap data import SOURCE --to DIR --class-map 'NAME=gap'"
        )

    headers: dict[int, ImageRecord] = {}
    seen_names: set[str] = set()
    for row, image in enumerate(raw["images"]):
        problem = _image_problem(image, headers, seen_names, annotated)
        if problem:
            rejections.append(Rejection(f"{where}: images[{row}]", problem, "correct the record, then check again"))
            continue
        seen_names.add(image["file_name"])
        optional: dict[str, Any] = {k: str(image[k]) for k in _OPTIONAL_KEYS if image.get(k) is not None}
        headers[image["id"]] = ImageRecord(
            file_name=image["file_name"],
            width=image["width"],
            height=image["height"],
            sha256=str(image.get("sha256", "")),
            license=_license_name(image, raw),
            consent=str(image.get("consent") or ""),
            source=str(image.get("source", image["file_name"])),
            split=image.get("split"),
            redacted=image.get("redacted") is True,
            annotated_classes=None if image.get("annotated_classes") is None else tuple(image["annotated_classes"]),
            twins=tuple(Twin(**twin) for twin in image.get("twins", ())),
            **optional,
        )

    boxes: dict[int, list[Box]] = {image_id: [] for image_id in headers}
    for row, annotation in enumerate(raw["annotations"]):
        problem = None
        record = _find(headers, annotation.get("image_id")) if isinstance(annotation, dict) else None
        if record is None:
            problem = "belongs to no usable image record"
        elif (name := _find(names, annotation.get("category_id"))) is None or name not in annotated:
            problem = f"category_id {annotation.get('category_id')!r} is not an annotated class"
        elif not record.is_labelled(name):
            problem = f"class {name!r} is not annotated in {record.file_name}"
        elif (xyxy := xywh_to_xyxy(annotation.get("bbox"))) is None:
            problem = f"bbox must be four numbers x, y, width, height, got {annotation.get('bbox')!r}"
        elif not (problem := box_problem(xyxy, record.width, record.height)):
            boxes[annotation["image_id"]].append(Box(name, clip_box(xyxy, record.width, record.height)))
        if problem:
            rejections.append(Rejection(f"{where}: annotations[{row}]", problem, "correct or delete the box"))
    images = tuple(replace(record, boxes=tuple(boxes[image_id])) for image_id, record in headers.items())
    return Dataset(images, tuple(annotated), tuple(rejections))


def save_dataset(root: Path, dataset: Dataset) -> None:
    """Write `annotations.json` atomically into `root`, and add what was refused to `rejected.jsonl`.

    The images are not touched: they must already lie in `root/images`.
    """
    categories = [
        {"id": index + 1, "name": name} for index, name in enumerate(LABEL_CLASSES) if name in dataset.annotated_classes
    ]
    category_ids = {c["name"]: c["id"] for c in categories}
    license_ids = {name: i + 1 for i, name in enumerate(sorted({image.license for image in dataset.images}))}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(dataset.images, start=1):
        row: dict[str, Any] = {"id": image_id}
        row.update({k: v for k, v in asdict(image).items() if k != "boxes" and v not in (None, False)})
        if not image.twins:
            del row["twins"]
        images.append(row)
        for box in image.boxes:
            x1, y1, x2, y2 = box.xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[box.class_name],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    document = {
        "info": {"description": "shelfgap dataset"},
        "licenses": [{"id": i, "name": name} for name, i in license_ids.items()],
        "annotated_classes": list(dataset.annotated_classes),
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }
    root.mkdir(parents=True, exist_ok=True)
    write_text_atomic(root / ANNOTATIONS_FILE, json.dumps(document, indent=1) + "\n")
    if dataset.rejections:
        rows = dict.fromkeys([*load_rejections(root), *dataset.rejections])
        write_text_atomic(root / REJECTED_FILE, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def keep_version(root: Path, to: Path) -> bool:
    """Mark what is made of a version of a workspace as such too, so that its splits stay; False where it is none."""
    marker = root / VERSION_FILE
    if not marker.is_file():
        return False
    (to / VERSION_FILE).write_bytes(marker.read_bytes())
    return True


def load_rejections(root: Path) -> tuple[Rejection, ...]:
    """Return the records of `rejected.jsonl`, which earlier steps left out; none when there is no such file.

    Raises:
        DatasetError: the file is damaged.
    """
    path = root / REJECTED_FILE
    if not path.exists():
        return ()
    try:
        return tuple(Rejection(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: not readable ({error}); remove it, or import again") from None


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file so that its name only ever shows the whole old or the whole new content."""
    write_durably(path, text.encode())


def xywh_to_xyxy(bbox: object) -> tuple[float, float, float, float] | None:
    """Turn COCO's x, y, width, height into x1, y1, x2, y2; None when it is not four numbers.

    >>> xywh_to_xyxy([10, 20, 5, 5])
    (10.0, 20.0, 15.0, 25.0)
    """
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in bbox)
    ):
        return None
    try:
        x, y, width, height = (float(v) for v in bbox)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return x, y, x + width, y + height


def is_safe_relative(name: str) -> bool:
    """Say whether a file name stays below the folder it is joined to.

    >>> is_safe_relative("aisle/1.jpg"), is_safe_relative("../1.jpg"), is_safe_relative("/etc/passwd")
    (True, False, False)
    """
    path = PurePosixPath(name)
    return bool(name) and "\\" not in name and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _image_problem(
    image: object, headers: Mapping[int, ImageRecord], names: set[str], annotated: Sequence[str]
) -> str | None:
    if not isinstance(image, dict) or not isinstance(image.get("id"), int):
        return "not an object with an integer id"
    if image["id"] in headers:
        return f"id {image['id']} stands twice"
    for key, value in image.items():
        if isinstance(value, str) and not _is_text(value):
            return f"{key} {value!r} has a character that no text can hold"
    name = image.get("file_name")
    if not isinstance(name, str) or not is_safe_relative(name):
        return f"file_name {name!r} leaves the images folder"
    if name in names:
        return f"file_name {name!r} stands twice"
    if not all(type(image.get(k)) is int and 0 < image[k] < _MOST_PIXELS for k in ("width", "height")):
        return f"width and height must be positive integers, got {image.get('width')!r}, {image.get('height')!r}"
    if image.get("split") not in (None, *SPLITS):
        return f"split must be one of {', '.join(SPLITS)}, got {image['split']!r}"
    labelled = image.get("annotated_classes")
    if labelled is not None and not (isinstance(labelled, list) and all(name in annotated for name in labelled)):
        return f"annotated_classes must be a list of the dataset's ({', '.join(annotated)}), got {labelled!r}"
    twins = image.get("twins", [])
    if not isinstance(twins, list) or not all(map(_is_twin, twins)):
        return f"twins must be a list of objects with source, store and camera, got {twins!r}"
    return None


def _is_twin(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() <= {"source", "store", "camera"}:
        return False
    texts = (value.get("store"), value.get("camera"))
    return isinstance(value.get("source"), str) and all(text is None or isinstance(text, str) for text in texts)


def _is_text(value: str) -> bool:
    """Say whether a text can be written; JSON may hold halves of characters, which no file name can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _find(records: Mapping[int, _T], key: Any) -> _T | None:
    """Return the record of an id; None where there is none, or the id is no value that could be one."""
    return None if isinstance(key, (list, dict)) else records.get(key)


def _license_name(image: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    """Take the licence of an image: our own name, or COCO's id into the list of licences."""
    value = image.get("license")
    for entry in raw.get("licenses") or []:
        if isinstance(entry, dict) and entry.get("id") == value:
            return str(entry.get("name", ""))
    return value if isinstance(value, str) else ""
