"""Which annotation format a source is in, and its reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from shelfgap_datasets.intake.coco import read_coco
from shelfgap_datasets.intake.createml import read_createml
from shelfgap_datasets.intake.cvat import read_cvat
from shelfgap_datasets.intake.label_studio import read_label_studio
from shelfgap_datasets.intake.model import FIX_ANNOTATION, Reading
from shelfgap_datasets.intake.sku110k import read_sku110k
from shelfgap_datasets.intake.tree import SourceTree
from shelfgap_datasets.intake.voc import read_voc
from shelfgap_datasets.intake.yolo import read_yolo
from shelfgap_datasets.schema import DatasetError, Rejection

Format = Literal["auto", "coco", "yolo", "voc", "createml", "cvat", "label-studio", "sku110k"]
_JSON_FORMATS = ("auto", "coco", "createml", "label-studio")


def read_annotations(tree: SourceTree, source: Path, format: Format) -> Reading:
    """Read the annotations of a source in the wanted format, or in the only one found.

    Raises:
        DatasetError: none found, several formats found, or no annotation belongs to a picture.
    """
    documents, broken = _json_documents(tree) if format in _JSON_FORMATS else ({}, [])
    readers: dict[str, Callable[[], Reading]] = {
        "coco": lambda: read_coco(tree, documents),
        "createml": lambda: read_createml(tree, documents),
        "cvat": lambda: read_cvat(tree),
        "label-studio": lambda: read_label_studio(tree, documents),
        "sku110k": lambda: read_sku110k(tree, wanted=format == "sku110k"),
        "voc": lambda: read_voc(tree),
        "yolo": lambda: read_yolo(tree, wanted=format == "yolo"),
    }
    wanted = readers if format == "auto" else {format: readers[format]}
    readings = [read() for read in wanted.values()]
    found = [reading for reading in readings if reading.files]
    if not found:
        broken += [rejection for reading in readings for rejection in reading.rejections]
        what = "annotations" if format == "auto" else f"annotations in the format {format}"
        hint = f"; first problem: {broken[0].source}: {broken[0].reason}" if broken else ""
        known = "COCO, YOLO, VOC, CreateML, CVAT, Label Studio, SKU-110K"
        raise DatasetError(f"{source}: {len(tree.pictures)} pictures but no {what} (known: {known}){hint}")
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
    for path in tree.with_suffix(".json"):
        try:
            documents[path] = json.loads(tree.read(path))
        except (OSError, ValueError, RecursionError) as error:
            reason = f"not readable as JSON ({' '.join(str(error).split())})"
            broken.append(Rejection(path, reason, FIX_ANNOTATION))
    return documents, broken
