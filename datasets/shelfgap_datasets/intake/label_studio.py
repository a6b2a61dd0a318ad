"""Read Label Studio: JSON and JSON-MIN exports, with the class list of a labelling configuration beside them.

Of several annotations of a task the ground truth counts, else the latest that was not cancelled; predictions are
nobody's labels. Uploaded pictures carry a prefix of eight hexadecimal digits and lose their folders, so a picture is
also found by its bare name where that is the only one of its kind.

Source: https://labelstud.io/guide/export (Label Studio JSON format), https://labelstud.io/tags/rectanglelabels
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

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
    turned_bounds,
)
from shelfgap_datasets.intake.tree import PICTURE_SUFFIXES, SourceTree

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_SHAPES = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "keypointlabels", "vectorlabels")
_FIX_TASK = "correct the task in Label Studio, then export again"


def is_label_studio(document: object) -> bool:
    """Say whether a parsed JSON file is meant as an export of Label Studio."""
    return isinstance(document, list) and any(
        isinstance(task, dict) and (isinstance(task.get("data"), dict) or any(_min_shapes(task))) for task in document
    )


def read_label_studio(tree: SourceTree, documents: Mapping[str, Any]) -> Reading:
    """Read the Label Studio files among parsed JSON documents, by path below the source folder."""
    reading = Reading("label-studio")
    for path, document in documents.items():
        if not is_label_studio(document):
            continue
        reading.files += 1
        for row, task in enumerate(document):
            _read_task(tree, path, f"{path}: [{row}]", task, reading)
    if reading.files:
        for path in tree.with_suffix(".xml"):
            root, _ = tree.read_xml(path)
            for label in root.iter("Label") if root is not None and root.tag == "View" else ():
                if name := as_label(label.get("value")):
                    reading.name_class(name)
    return reading


def _read_task(tree: SourceTree, path: str, where: str, task: object, reading: Reading) -> None:
    if not isinstance(task, dict):
        reading.reject(where, "not a task", _FIX_TASK)
        return
    data = task["data"] if isinstance(task.get("data"), dict) else task
    results = _results(task)
    if results is None:
        reading.reject(where, "a task without a finished annotation", "label it, then export again")
        return
    picture, problem = _picture(tree, path, data)
    if picture is None:
        reading.reject(where, problem, "put the picture beside the export, or remove the task")
        return
    size = None
    boxes = []
    for number, result in enumerate(results):
        if not isinstance(result, dict):
            reading.reject(f"{where}: result {number}", "not an object", FIX_BOX)
            continue
        kind = next((name for name in _SHAPES if name in result["value"] or name == result.get("type")), None)
        if kind is None:
            continue  # a choice, a rating or a text about the picture
        size = size or as_size(result.get("original_height"), result.get("original_width"))
        label, xyxy, problem = _box(kind, result)
        if label is None or xyxy is None:
            reading.reject(f"{where}: result {number}", problem, FIX_BOX)
            continue
        reading.name_class(label)
        boxes.append(SourceBox(label, xyxy, f"{where}: result {number}"))
    reading.images.append(
        SourceImage(
            picture=picture, boxes=tuple(boxes), boxes_are_fractions=True, stated_size=size, stated=record_keys(data)
        )
    )


def _results(task: Mapping[str, Any]) -> list[Any] | None:
    """Return the results that count, each with a `value`; None when nobody labelled the task."""
    if not isinstance(task.get("data"), dict):
        shapes = [shape for shapes in _min_shapes(task) for shape in shapes]
        return [{**shape, "value": shape} if isinstance(shape, dict) else shape for shape in shapes]
    listed = task.get("annotations", task.get("completions"))
    done = [
        entry
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("result"), list) and entry.get("was_cancelled") is not True
    ]
    if not done:
        return None
    chosen = max(done, key=lambda entry: (entry.get("ground_truth") is True, str(entry.get("updated_at", ""))))
    return [r if isinstance(r, dict) and isinstance(r.get("value"), dict) else None for r in chosen["result"]]


def _min_shapes(task: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the lists of shapes of a JSON-MIN task, which stand under the names of their controls."""
    for value in task.values():
        if isinstance(value, list) and any(isinstance(v, dict) and any(k in v for k in _SHAPES) for v in value):
            yield value


def _box(kind: str, result: Mapping[str, Any]) -> tuple[str | None, tuple[float, float, float, float] | None, str]:
    """Return label and bounds in fractions of the picture, or what is wrong."""
    value = result["value"]
    labels = value.get(kind)
    label = as_label(labels[0]) if isinstance(labels, list) and len(labels) == 1 else None
    if label is None:
        return None, None, f"{kind} must hold one label, got {labels!r}"
    if kind == "polygonlabels":
        points = value.get("points")
        pairs = [p for p in points if isinstance(p, list) and len(p) == 2] if isinstance(points, list) else []
        numbers = [n for pair in pairs for v in pair if (n := as_number(v)) is not None]
        if not isinstance(points, list) or len(numbers) != 2 * len(points) or len(numbers) < 6:
            return label, None, "a polygon must give points [[x, y], ...] in percent"
        x1, y1, x2, y2 = polygon_bounds(numbers)
        return label, (x1 / 100, y1 / 100, x2 / 100, y2 / 100), ""
    names = {
        "rectanglelabels": ("x", "y", "width", "height"),
        "ellipselabels": ("x", "y", "radiusX", "radiusY"),
    }.get(kind)
    if names is None:
        return label, None, f"{kind} give no box; draw a rectangle or a polygon"
    x, y, width, height = (as_number(value.get(name)) for name in names)
    if x is None or y is None or width is None or height is None:
        return label, None, f"expected the numbers {', '.join(names)} in percent"
    xyxy = (x, y, x + width, y + height)
    pivot = (x, y)  # Label Studio turns a rectangle about its upper left corner, an ellipse about its centre
    if kind == "ellipselabels":
        xyxy = (x - width, y - height, x + width, y + height)
    degrees = as_number(value.get("rotation", 0)) or 0.0
    if degrees % 360:
        size = as_size(result.get("original_height"), result.get("original_width"))
        if size is None:
            return label, None, "a turned shape needs original_width and original_height"
        down, right = size[0] / 100, size[1] / 100
        pixels = (xyxy[0] * right, xyxy[1] * down, xyxy[2] * right, xyxy[3] * down)
        x1, y1, x2, y2 = turned_bounds(pixels, degrees, (pivot[0] * right, pivot[1] * down))
        xyxy = (x1 / right, y1 / down, x2 / right, y2 / down)
    return label, (xyxy[0] / 100, xyxy[1] / 100, xyxy[2] / 100, xyxy[3] / 100), ""


def _picture(tree: SourceTree, path: str, data: Mapping[str, Any]) -> tuple[str | None, str]:
    """Find the picture of a task: by the path in its address, then by its bare name, without upload prefix."""
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    for text in texts:
        try:
            address = urlsplit(text)
        except ValueError:
            continue
        inside = parse_qs(address.query).get("d", [unquote(address.path)])[0].lstrip("/")
        base = posixpath.basename(inside)
        if posixpath.splitext(base)[1].lower() not in PICTURE_SUFFIXES:
            continue
        bare = _UPLOAD_PREFIX.sub("", base)
        for name in (inside, base, bare):
            picture, _ = tree.resolve(path, name)
            if picture is not None:
                return picture, ""
        picture = tree.named(base) or tree.named(bare)
        if picture is not None:
            return picture, ""
        return None, f"no picture {base!r} in the source"
    return None, "the task names no picture"
