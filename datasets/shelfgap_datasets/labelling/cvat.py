"""Write CVAT for images 1.1: `annotations.xml`, with what is stated of a picture as a tag that CVAT keeps.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from shelfgap_datasets.intake.cvat import RECORD_TAG
from shelfgap_datasets.intake.model import RECORD_KEYS
from shelfgap_datasets.schema import Box, Dataset, DatasetError, ImageRecord

CVAT_FILE = "annotations.xml"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_cvat(
    folder: Path, dataset: Dataset, attributes: Callable[[ImageRecord, Box], dict[str, str]] | None = None
) -> None:
    """Write the task of a dataset.

    Args:
        folder: gets `annotations.xml`.
        dataset: its boxes.
        attributes: what to say of a box beyond its class, by name.

    Raises:
        DatasetError: a text has a character that XML cannot hold.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    described: dict[str, None] = {}
    for number, image in enumerate(dataset.images):
        header = {"id": str(number), "name": _text(image.file_name)}
        header |= {"width": str(image.width), "height": str(image.height)}
        element = SubElement(root, "image", header)
        for box in image.boxes:
            x1, y1, x2, y2 = (f"{v:.4f}" for v in box.xyxy)
            corners = {"xtl": x1, "ytl": y1, "xbr": x2, "ybr": y2}
            shape = SubElement(
                element, "box", {"label": box.class_name, "source": "manual", "occluded": "0", **corners}
            )
            for name, value in (attributes(image, box) if attributes else {}).items():
                described[name] = None
                SubElement(shape, "attribute", name=name).text = _text(value)
        tag = SubElement(element, "tag", label=RECORD_TAG, source="manual")
        for key in RECORD_KEYS:
            if (value := getattr(image, key)) is not None:
                SubElement(tag, "attribute", name=key).text = _text(value)
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for class_name in dataset.annotated_classes:
        _label(labels, class_name, "rectangle", described)
    _label(labels, RECORD_TAG, "tag", dict.fromkeys(RECORD_KEYS))
    indent(root)
    ElementTree(root).write(folder / CVAT_FILE, encoding="utf-8", xml_declaration=True)


def _label(labels: Element, name: str, kind: str, attributes: dict[str, None]) -> None:
    label = SubElement(labels, "label")
    SubElement(label, "name").text = name
    SubElement(label, "type").text = kind
    listed = SubElement(label, "attributes")
    for key in attributes:
        attribute = SubElement(listed, "attribute")
        values = {"name": key, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
        for field, value in values.items():
            SubElement(attribute, field).text = value


def _text(value: str) -> str:
    if _NOT_XML.search(value):
        raise DatasetError(f"{value!r} has a character that XML cannot hold; rename it, or export as COCO")
    return value
