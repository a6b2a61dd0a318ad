"""Write CVAT for images 1.1: `annotations.xml`, with what is stated of a picture as a tag that CVAT keeps.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from shelfgap_datasets.intake.cvat import RECORD_TAG
from shelfgap_datasets.intake.model import RECORD_KEYS, stated_of
from shelfgap_datasets.schema import Box, Dataset, DatasetError
from shelfgap_datasets.xml_text import NOT_XML

CVAT_FILE = "annotations.xml"
SUGGESTED = "suggest-"  # before the class of a box that nobody drew; such a label is no class on return


def write_cvat(
    folder: Path,
    dataset: Dataset,
    suggested: Mapping[str, Sequence[tuple[Box, str]]] | None = None,
    doubted: Mapping[tuple[str, int], str] | None = None,
) -> None:
    """Write the task of a dataset.

    Args:
        folder: gets `annotations.xml`.
        dataset: its boxes.
        suggested: by file name, boxes that nobody drew, and why; written with the label `suggest-CLASS`.
        doubted: by file name and number of a box, what seems wrong with it.

    Raises:
        DatasetError: a text has a character that XML cannot hold.
    """
    suggested, doubted = suggested or {}, doubted or {}
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    for number, image in enumerate(dataset.images):
        header = {"id": str(number), "name": _text(image.file_name)}
        header |= {"width": str(image.width), "height": str(image.height)}
        element = SubElement(root, "image", header)
        for row, box in enumerate(image.boxes):
            _box(element, box.class_name, box, doubted.get((image.file_name, row)))
        for box, why in suggested.get(image.file_name, ()):
            _box(element, f"{SUGGESTED}{box.class_name}", box, why)
        tag = SubElement(element, "tag", label=RECORD_TAG, source="manual")
        for key, value in stated_of(image).items():
            SubElement(tag, "attribute", name=key).text = _text(value)
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    notes = ["review"] if suggested or doubted else []
    for class_name in dataset.annotated_classes:
        _label(labels, class_name, "rectangle", notes)
    for class_name in sorted({box.class_name for boxes in suggested.values() for box, _ in boxes}):
        _label(labels, f"{SUGGESTED}{class_name}", "rectangle", notes)
    _label(labels, RECORD_TAG, "tag", RECORD_KEYS)
    indent(root)
    ElementTree(root).write(folder / CVAT_FILE, encoding="utf-8", xml_declaration=True)


def _box(element: Element, label: str, box: Box, note: str | None) -> None:
    x1, y1, x2, y2 = (f"{v:.4f}" for v in box.xyxy)
    corners = {"xtl": x1, "ytl": y1, "xbr": x2, "ybr": y2}
    shape = SubElement(element, "box", {"label": label, "source": "manual", "occluded": "0", **corners})
    if note is not None:
        SubElement(shape, "attribute", name="review").text = note


def _label(labels: Element, name: str, kind: str, attributes: Sequence[str]) -> None:
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
    if NOT_XML.search(value):
        raise DatasetError(f"{value!r} has a character that XML cannot hold; rename it, or export as COCO")
    return value
