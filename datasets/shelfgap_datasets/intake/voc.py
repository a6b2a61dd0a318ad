"""Read Pascal VOC: one XML a picture, with its size and one `bndbox` an object.

Corners are taken as box edges, as CVAT, Label Studio, Roboflow, FiftyOne and labelImg write them. Only the
original VOC releases, known by `<source><database>The VOC...`, count pixels from 1 and include the last one:
there one is taken off xmin and ymin.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html (annotation of a bounding box)
"""

from __future__ import annotations

import posixpath
from typing import Any

from shelfgap_datasets.intake.model import (
    FIX_BOX,
    Reading,
    SourceBox,
    SourceImage,
    as_label,
    as_number,
    as_size,
)
from shelfgap_datasets.intake.tree import SourceTree

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(tree: SourceTree) -> Reading:
    """Read the VOC files of a source folder; XML of another root element is passed over."""
    reading = Reading("voc")
    for path in tree.with_suffix(".xml"):
        root, problem = tree.read_xml(path)
        if root is None:
            reading.reject(path, problem)
            continue
        if root.tag != "annotation":
            continue
        reading.files += 1
        folder = posixpath.dirname(path)
        names = (root.findtext("filename") or "", posixpath.basename(path))
        picture = next((found for name in names if name and (found := tree.locate(folder, name))), None)
        if picture is None:
            reading.reject(path, "an annotation without a picture", "add the picture, or remove the file")
            continue
        reading.images.append(
            SourceImage(
                picture=picture,
                boxes=tuple(_boxes(path, root, reading)),
                stated_size=as_size(root.findtext("size/height"), root.findtext("size/width")),
            )
        )
    return reading


def _boxes(path: str, root: Any, reading: Reading) -> list[SourceBox]:
    boxes = []
    first = 1.0 if (root.findtext("source/database") or "").startswith("The VOC") else 0.0
    for number, element in enumerate(root.iter("object"), start=1):
        where = f"{path}: object {number}"
        label = as_label(element.findtext("name"))
        corners = [as_number(element.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
        xmin, ymin, xmax, ymax = corners
        if label is None:
            reading.reject(where, "an object without a name", FIX_BOX)
        elif xmin is None or ymin is None or xmax is None or ymax is None:
            reading.reject(where, "bndbox must give the numbers xmin, ymin, xmax, ymax", FIX_BOX)
        else:
            reading.name_class(label)
            is_difficult = (element.findtext("difficult") or "").strip() == "1"
            boxes.append(SourceBox(label, (xmin - first, ymin - first, xmax, ymax), where, is_difficult))
    return boxes
