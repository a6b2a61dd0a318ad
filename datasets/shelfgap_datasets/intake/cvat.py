"""Read CVAT for images 1.1: one XML of a task, with its labels, its images and their shapes.

Boxes, polygons, ellipses and masks become boxes (turned boxes their upright bounds); lines and points are rejected,
and so are the tracks of CVAT for video. What our own exports state of a picture (licence, store, camera) travels as a
tag `shelfgap` with attributes, which CVAT keeps.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/
"""

from __future__ import annotations

from typing import Any

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
from shelfgap_datasets.intake.tree import SourceTree

RECORD_TAG = "shelfgap"
_SHAPES = frozenset({"box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton"})


def read_cvat(tree: SourceTree) -> Reading:
    """Read the CVAT files of a source folder; XML of another root element is passed over."""
    reading = Reading("cvat")
    for path in tree.with_suffix(".xml"):
        root, problem = tree.read_xml(path)
        if root is None:
            reading.reject(path, problem)
            continue
        if root.tag != "annotations":
            continue
        reading.files += 1
        listed = []
        for label in root.iterfind("meta//labels/label"):
            name = as_label(label.findtext("name"))
            if name is not None and name != RECORD_TAG and label.findtext("type") != "tag":
                reading.name_class(name)
                listed.append(name)
        for track in root.iterfind("track"):
            reading.reject(f"{path}: track {track.get('id')}", "a track of a video", "export as CVAT for images 1.1")
        for row, image in enumerate(root.iterfind("image")):
            where = f"{path}: image {image.get('id', row)}"
            picture, problem = tree.resolve(path, image.get("name"))
            if picture is None:
                reading.reject(where, problem, "put the picture where its name says, or remove the record")
                continue
            reading.images.append(
                SourceImage(
                    picture=picture,
                    boxes=tuple(_boxes(where, image, reading)),
                    stated_size=as_size(image.get("height"), image.get("width")),
                    stated=_record(image),
                    labelled=tuple(listed) or None,
                )
            )
    return reading


def _record(image: Any) -> dict[str, str]:
    values: dict[str, object] = {}
    for tag in image.iterfind("tag"):
        if tag.get("label") == RECORD_TAG:
            values |= {attribute.get("name"): attribute.text for attribute in tag.iterfind("attribute")}
    return record_keys(values)


def _boxes(where_image: str, image: Any, reading: Reading) -> list[SourceBox]:
    boxes = []
    shapes = [element for element in image if element.tag in _SHAPES]
    for number, shape in enumerate(shapes, start=1):
        where = f"{where_image}: {shape.tag} {number}"
        label = as_label(shape.get("label"))
        xyxy, problem = _bounds(shape)
        if label is None:
            reading.reject(where, "a shape without a label", FIX_BOX)
        elif xyxy is None:
            reading.reject(where, problem, FIX_BOX)
        else:
            reading.name_class(label)
            boxes.append(SourceBox(label, xyxy, where))
    return boxes


def _bounds(shape: Any) -> tuple[tuple[float, float, float, float] | None, str]:
    """Return the upright bounds of a shape in pixels, or None and what is wrong."""
    degrees = as_number(shape.get("rotation", 0)) or 0.0
    if shape.tag == "box":
        x1, y1, x2, y2 = (as_number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        if x1 is None or y1 is None or x2 is None or y2 is None:
            return None, "a box must give the numbers xtl, ytl, xbr, ybr"
        return turned_bounds((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2)), ""
    if shape.tag == "polygon":
        numbers = [as_number(v) for point in (shape.get("points") or "").split(";") for v in point.split(",")]
        known = [v for v in numbers if v is not None]
        if len(known) != len(numbers) or len(known) < 6 or len(known) % 2:
            return None, "a polygon must give points x,y;x,y;x,y"
        return polygon_bounds(known), ""
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (as_number(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        if cx is None or cy is None or rx is None or ry is None:
            return None, "an ellipse must give the numbers cx, cy, rx, ry"
        return turned_bounds((cx - rx, cy - ry, cx + rx, cy + ry), degrees, (cx, cy)), ""
    if shape.tag == "mask":
        left, top, width, height = (as_number(shape.get(key)) for key in ("left", "top", "width", "height"))
        if left is None or top is None or width is None or height is None:
            return None, "a mask must give the numbers left, top, width, height"
        return (left, top, left + width, top + height), ""
    return None, f"a {shape.tag} encloses nothing"
