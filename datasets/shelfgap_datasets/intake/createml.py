"""Read CreateML: JSON lists of `{"image": name, "annotations": [{"label", "coordinates"}]}`.

One file may speak of one picture or of all. `coordinates` are the box CENTRE, width and height in pixels. The
`image` may have another suffix than the file on disk, since pictures get converted after labelling.

Source: https://developer.apple.com/documentation/createml/building-an-object-detector-data-source
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from shelfgap_datasets.intake.label_studio import is_label_studio
from shelfgap_datasets.intake.model import FIX_BOX, Reading, SourceBox, SourceImage, as_label, as_number
from shelfgap_datasets.intake.tree import SourceTree

_IMAGE_KEYS = ("image", "imagefilename")
_BOX_KEYS = ("annotations", "annotation")


def is_createml(document: object) -> bool:
    """Say whether a parsed JSON file is meant as CreateML."""
    entries = document if isinstance(document, list) else [document]
    named = any(isinstance(e, dict) and any(key in e for key in _IMAGE_KEYS) for e in entries)
    return named and not is_label_studio(document)


def read_createml(tree: SourceTree, documents: Mapping[str, Any]) -> Reading:
    """Read the CreateML files among parsed JSON documents, by path below the source folder."""
    reading = Reading("createml")
    for path, document in documents.items():
        if not is_createml(document):
            continue
        reading.files += 1
        for row, entry in enumerate(document if isinstance(document, list) else [document]):
            where = f"{path}: [{row}]"
            image = _first(entry, _IMAGE_KEYS)
            boxes = _first(entry, _BOX_KEYS)
            if not isinstance(image, str) or not isinstance(boxes, list):
                reading.reject(where, "expected an object with image (a name) and annotations (a list)")
                continue
            picture = tree.locate(posixpath.dirname(path), image)
            if picture is None:
                reading.reject(
                    where,
                    f"an annotation without a picture: {image!r} is not there",
                    "add the picture, or remove the entry",
                )
                continue
            reading.images.append(SourceImage(picture=picture, boxes=tuple(_boxes(where, boxes, reading))))
    return reading


def _boxes(where_entry: str, rows: list[Any], reading: Reading) -> list[SourceBox]:
    boxes = []
    for row, annotation in enumerate(rows):
        where = f"{where_entry}: annotations[{row}]"
        label = as_label(_first(annotation, ("label",)))
        coordinates = _first(annotation, ("coordinates",))
        x, y, width, height = (as_number(_first(coordinates, (k,))) for k in ("x", "y", "width", "height"))
        if label is None:
            reading.reject(where, "a box without a label", FIX_BOX)
        elif x is None or y is None or width is None or height is None:
            reading.reject(where, "coordinates must give the numbers x, y, width, height", FIX_BOX)
        else:
            reading.name_class(label)
            boxes.append(SourceBox(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), where))
    return boxes


def _first(record: object, keys: tuple[str, ...]) -> object:
    if not isinstance(record, dict):
        return None
    return next((record[key] for key in keys if key in record), None)
