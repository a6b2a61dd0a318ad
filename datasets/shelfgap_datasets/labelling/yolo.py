"""Write YOLO: `labels/SPLIT/*.txt`, `data.yaml`, and `records.jsonl` for what the format has no room for.

Source: https://docs.ultralytics.com/datasets/detect/
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from shelfgap_datasets.coco import IMAGES_DIR
from shelfgap_datasets.intake.model import stated_of
from shelfgap_datasets.intake.provenance import RECORDS_FILE
from shelfgap_datasets.schema import SPLITS, Dataset, ImageRecord


def flat_names(images: Sequence[ImageRecord]) -> list[str]:
    """Return names `SPLIT/STEM.SUFFIX` with stems that are distinct, since `1.jpg` and `1.png` would share `1.txt`."""
    taken: set[str] = set()
    names = []
    for image in images:
        path = PurePosixPath(image.file_name)
        plain = stem = "__".join(path.with_suffix("").parts)
        number = 2
        while stem.casefold() in taken:
            stem = f"{plain}-{number}"
            number += 1
        taken.add(stem.casefold())
        names.append(f"{image.split or 'train'}/{stem}{path.suffix}")
    return names


def write_yolo(folder: Path, dataset: Dataset, names: Sequence[str]) -> None:
    """Write labels, class list and records; the pictures lie in `images/` under `names`."""
    classes = list(dataset.annotated_classes)
    rows = []
    for image, name in zip(dataset.images, names, strict=True):
        lines = []
        for box in image.boxes:
            x1, y1, x2, y2 = box.xyxy
            values = (
                (x1 + x2) / 2 / image.width,
                (y1 + y2) / 2 / image.height,
                (x2 - x1) / image.width,
                (y2 - y1) / image.height,
            )
            lines.append(f"{classes.index(box.class_name)} {' '.join(f'{v:.9f}' for v in values)}\n")
        target = folder / "labels" / posixpath.splitext(name)[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(f"{target.name}.txt").write_text("".join(lines), encoding="utf-8")
        rows.append({"picture": f"{IMAGES_DIR}/{name}", "file_name": image.file_name, **stated_of(image)})
    sides = [side for side in SPLITS if any(name.startswith(f"{side}/") for name in names)]
    document: dict[str, object] = {side: f"{IMAGES_DIR}/{side}" for side in sides}
    document |= {"nc": len(classes), "names": classes}
    (folder / "data.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / RECORDS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
