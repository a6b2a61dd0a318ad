"""Read YOLO: one text file a picture, one row a box or polygon, class names in a YAML or beside.

Rows are `class cx cy width height` or `class x1 y1 x2 y2 x3 y3 ...`, all in fractions of the displayed picture;
a polygon becomes its bounds. An empty file is a picture with nothing to label. The class names stand in the
nearest `data.yaml` (any YAML with `names`), `classes.txt` or `obj.names` above the file; without one the names
are the numbers.

Source: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from shelfgap_datasets.intake.model import (
    FIX_BOX,
    Reading,
    SourceBox,
    SourceImage,
    as_label,
    as_number,
    polygon_bounds,
)
from shelfgap_datasets.intake.tree import LABEL_FOLDERS, SourceTree

_NAME_FILES = ("classes.txt", "obj.names")


@dataclass(frozen=True)
class _ClassList:
    """The names by class number of one set, and its licence."""

    path: str
    names: Mapping[int, str]
    license: str | None = None


def read_yolo(tree: SourceTree, *, wanted: bool) -> Reading:
    """Read the YOLO sets of a source folder.

    Args:
        tree: the source folder.
        wanted: the user asked for this format; else a text file beside a picture must look like rows.
    """
    reading = Reading("yolo")
    lists = _class_lists(tree, reading)
    used: set[str] = set()
    for path in tree.annotations:
        folder, name = posixpath.split(path)
        if PurePosixPath(name).suffix.lower() != ".txt" or name in _NAME_FILES:
            continue
        picture = tree.locate(folder, name)
        in_label_folder = any(part.lower() in LABEL_FOLDERS for part in folder.split("/"))
        if picture is None and not in_label_folder:
            continue  # a read-me or a list of files
        try:
            text = tree.read(path).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reading.files += 1
            reading.reject(path, f"not readable as text ({error})")
            continue
        if not (wanted or in_label_folder or _looks_like_rows(text)):
            continue
        reading.files += 1
        if picture is None:
            reading.reject(path, "an annotation without a picture", "add the picture, or remove the file")
            continue
        classes = _nearest(lists, folder)
        if classes:
            used.add(classes.path)
        reading.images.append(
            SourceImage(
                picture=picture,
                boxes=tuple(_boxes(path, text, classes, reading)),
                boxes_are_fractions=True,
                stated={"license": classes.license} if classes and classes.license else {},
                labelled=tuple(classes.names.values()) if classes else None,
            )
        )
    for path in sorted(used):
        for name in next(entry for entry in lists.values() if entry.path == path).names.values():
            reading.name_class(name)
    for image in reading.images:
        for box in image.boxes:
            reading.name_class(box.label)
    return reading


def _boxes(path: str, text: str, classes: _ClassList | None, reading: Reading) -> list[SourceBox]:
    boxes = []
    for row, line in enumerate(text.splitlines(), start=1):
        tokens = line.split()
        if not tokens:
            continue
        where = f"{path}:{row}"
        numbers = [value for token in tokens if (value := as_number(token)) is not None]
        is_polygon = len(tokens) >= 7 and len(tokens) % 2 == 1
        if len(tokens) != 5 and not is_polygon:
            reading.reject(
                where,
                f"a row has 5 columns (a box) or 7, 9, 11, ... (a polygon), this one has {len(tokens)}",
                FIX_BOX,
            )
        elif len(numbers) != len(tokens):
            reading.reject(where, "a column is not a number", FIX_BOX)
        elif not numbers[0].is_integer() or numbers[0] < 0:
            reading.reject(where, f"the class must be a whole number from 0, got {tokens[0]}", FIX_BOX)
        elif classes and int(numbers[0]) not in classes.names:
            reading.reject(where, f"class {tokens[0]} is not in {classes.path}", FIX_BOX)
        else:
            number = int(numbers[0])
            label = classes.names[number] if classes else as_label(number)
            if label is None:
                reading.reject(where, "the class number is too long", FIX_BOX)
                continue
            xyxy = polygon_bounds(numbers[1:]) if is_polygon else _centre_box(numbers[1:])
            boxes.append(SourceBox(label, xyxy, where))
    return boxes


def _centre_box(numbers: list[float]) -> tuple[float, float, float, float]:
    cx, cy, width, height = numbers
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _looks_like_rows(text: str) -> bool:
    tokens = text.split(maxsplit=1)
    return not tokens or as_number(tokens[0]) is not None


def _class_lists(tree: SourceTree, reading: Reading) -> dict[str, _ClassList]:
    """Return the class list of each folder that has one; a YAML goes before the plain lists."""
    lists: dict[str, _ClassList] = {}
    for path in tree.annotations:
        folder, name = posixpath.split(path)
        suffix = PurePosixPath(name).suffix.lower()
        if name not in _NAME_FILES and suffix not in (".yaml", ".yml"):
            continue
        try:
            text = tree.read(path).decode("utf-8-sig")
            if name in _NAME_FILES:
                lines = [line.strip() for line in text.splitlines()]
                names = {i: label for i, line in enumerate(lines) if (label := as_label(line))}
                lists.setdefault(folder, _ClassList(path, names))
                continue
            document = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            reading.reject(path, f"not readable ({' '.join(str(error).split())})")
            continue
        if not isinstance(document, dict) or "names" not in document:
            continue
        reading.files += 1
        numbered = _numbered_names(document["names"])
        if numbered is None:
            reading.reject(path, "names must be a list of names or a map from number to name")
            continue
        roboflow = document.get("roboflow")
        stated = roboflow.get("license") if isinstance(roboflow, dict) else None
        lists[folder] = _ClassList(path, numbered, as_label(stated or document.get("license")))
    return lists


def _numbered_names(value: object) -> dict[int, str] | None:
    if isinstance(value, list):
        pairs = list(enumerate(value))
    elif isinstance(value, dict):
        pairs = [(int(key), name) for key, name in value.items() if isinstance(key, int) or _is_number(key)]
    else:
        return None
    return {key: label for key, name in pairs if (label := as_label(name)) is not None}


def _is_number(key: object) -> bool:
    """Say whether a key is a class number that a tool wrote in quotes."""
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10


def _nearest(lists: Mapping[str, _ClassList], folder: str) -> _ClassList | None:
    while True:
        if folder in lists:
            return lists[folder]
        if not folder:
            return None
        folder = posixpath.dirname(folder)
