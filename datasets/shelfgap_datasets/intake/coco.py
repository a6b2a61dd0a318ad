"""Read COCO: every JSON with the lists images, annotations and categories, wherever a labelling tool put it.

The dataset contract is COCO too and is read here with its extra keys; its `group` and `split` are dropped,
since they follow from the whole dataset and are set anew by `split`.

Source: COCO data format, https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from shelfgap_datasets.coco import xywh_to_xyxy
from shelfgap_datasets.intake.model import (
    FIX_BOX,
    Reading,
    SourceBox,
    SourceImage,
    as_label,
    as_number,
    as_size,
    polygon_bounds,
    record_keys,
)
from shelfgap_datasets.intake.tree import SourceTree


def is_coco(document: object) -> bool:
    """Say whether a parsed JSON file is meant as COCO detection data."""
    return isinstance(document, dict) and isinstance(document.get("images"), list)


def read_coco(tree: SourceTree, documents: Mapping[str, Any]) -> Reading:
    """Read the COCO files among parsed JSON documents, by path below the source folder.

    Boxes: `bbox` (x, y, width, height in pixels), else the bounds of a polygon `segmentation`. Bad records are
    rejected one by one. An image without boxes is a picture with nothing to label.
    """
    reading = Reading("coco")
    for path, document in documents.items():
        if not is_coco(document):
            continue
        reading.files += 1
        categories, annotations = document.get("categories"), document.get("annotations")
        if not isinstance(categories, list) or not isinstance(annotations, list):
            reading.reject(path, "expected the lists images, annotations and categories")
            continue
        names = _category_names(document)
        for name in names.values():
            reading.name_class(name)
        boxes = _boxes_by_image(path, annotations, names, reading)
        licenses = _license_names(document)
        seen: set[int | str] = set()
        stem = PurePosixPath(path).stem
        # instances_default.json (CVAT) and instances_train2017.json speak of images/default and train2017.
        splits = (stem, stem.rpartition("_")[2])
        for row, image in enumerate(document["images"]):
            where = f"{path}: images[{row}]"
            image_id = _key(image.get("id")) if isinstance(image, dict) else None
            if image_id is None:
                reading.reject(where, "not an object with an id")
                continue
            if image_id in seen:
                reading.reject(where, f"id {image_id!r} stands twice")
                continue
            seen.add(image_id)
            picture, problem = tree.resolve(path, image.get("file_name"), splits)
            if picture is None:
                reading.reject(where, problem, "put the picture where file_name says, or remove the record")
                continue
            reading.images.append(
                SourceImage(
                    picture=picture,
                    boxes=tuple(boxes.pop(image_id, ())),
                    stated_size=as_size(image.get("height"), image.get("width")),
                    stated=record_keys(image | {"license": _license(image.get("license"), licenses)}),
                    labelled=_labelled(image.get("annotated_classes"), names),
                )
            )
        for image_id, orphans in boxes.items():
            if image_id not in seen:
                for box in orphans:
                    reading.reject(box.where, f"image_id {image_id!r} belongs to no image record", FIX_BOX)
    return reading


def _boxes_by_image(
    path: str, annotations: list[Any], names: Mapping[int | str, str], reading: Reading
) -> dict[int | str, list[SourceBox]]:
    boxes: dict[int | str, list[SourceBox]] = {}
    for row, annotation in enumerate(annotations):
        where = f"{path}: annotations[{row}]"
        if not isinstance(annotation, dict):
            reading.reject(where, "not an object", FIX_BOX)
            continue
        image_id, category = _key(annotation.get("image_id")), _key(annotation.get("category_id"))
        xyxy = xywh_to_xyxy(annotation.get("bbox")) or _polygon_bounds(annotation.get("segmentation"))
        if image_id is None:
            reading.reject(where, "no image_id", FIX_BOX)
        elif category is None or category not in names:
            reading.reject(where, f"category_id {annotation.get('category_id')!r} is no category", FIX_BOX)
        elif xyxy is None:
            reading.reject(
                where,
                f"bbox must be four numbers x, y, width, height, got {annotation.get('bbox')!r}",
                FIX_BOX,
            )
        else:
            is_crowd = annotation.get("iscrowd") == 1
            boxes.setdefault(image_id, []).append(SourceBox(names[category], xyxy, where, is_crowd))
    return boxes


def _labelled(value: object, names: Mapping[int | str, str]) -> tuple[str, ...]:
    """Return the classes that our own contract says were looked for in a picture, else the categories of its file."""
    if not isinstance(value, list):
        return tuple(names.values())
    return tuple(label for name in value if (label := as_label(name)) is not None)


def _category_names(document: Mapping[str, Any]) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for category in document["categories"]:
        if isinstance(category, dict):
            key, name = _key(category.get("id")), as_label(category.get("name"))
            if key is not None and name is not None:
                names[key] = name
    return names


def _license_names(document: Mapping[str, Any]) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    entries = document.get("licenses")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            key, name = _key(entry.get("id")), as_label(entry.get("name") or entry.get("url"))
            if key is not None and name is not None:
                names[key] = name
    return names


def _license(value: object, names: Mapping[int | str, str]) -> str | None:
    """Return the licence of an image: by id, as our own contract's name, or the only one of the file."""
    key = _key(value)
    if key is not None and key in names:
        return names[key]
    if isinstance(key, str):
        return as_label(key)
    return next(iter(names.values())) if key is None and len(names) == 1 else None


def _polygon_bounds(segmentation: object) -> tuple[float, float, float, float] | None:
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    values = [as_number(value) for part in parts if isinstance(part, list) for value in part]
    numbers = [value for value in values if value is not None]
    if len(numbers) != len(values) or len(numbers) < 6 or len(numbers) % 2:
        return None
    return polygon_bounds(numbers)


def _key(value: object) -> int | str | None:
    """Return an id that can be looked up; tools write numbers, pandas among them 1 as 1.0, or texts."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None
