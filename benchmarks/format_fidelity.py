"""What Datumaro and supervision keep of small labelled folders (see docs/adr/0004).

Run in an environment of their own: `pip install datumaro supervision opencv-python-headless`, then
`python benchmarks/format_fidelity.py`. It prints what each returns or raises.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import datumaro
import numpy as np
import supervision
from PIL import Image

BOX = [10.1234, 20.5678, 30.25, 20.5]
CVAT = """<annotations><version>1.1</version><meta><task><labels><label><name>gap</name><attributes/></label></labels>
</task></meta><image id="0" name="a.jpg" width="80" height="60">
<box label="gap" xtl="10.12" ytl="20" xbr="40" ybr="40.5" rotation="30"/></image></annotations>"""


def picture(path: Path, seed: int = 0) -> None:
    """Write a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)).save(path)


def coco_folder(root: Path, *, damaged: bool) -> Path:
    """Write three pictures and their COCO file, with what is stated of each."""
    for number in (1, 2, 3):
        picture(root / "images/default" / f"{number}.jpg", number)
    stated = {"width": 80, "height": 60, "license": 1, "store": "s1", "camera": "c1"}
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX, "area": 1, "iscrowd": 0} for i in (1, 2)]
    document = {
        "licenses": [{"id": 1, "name": "CC BY 4.0"}],
        "images": [{"id": i, "file_name": f"{i}.jpg", **stated} for i in (1, 2, 3)],
        "categories": [{"id": 1, "name": "gap"}],
        "annotations": [*boxes, *([{"id": 9, "image_id": 77, "category_id": 1, "bbox": [1, 2, 3]}] if damaged else [])],
    }
    (root / "annotations").mkdir()
    (root / "annotations/instances_default.json").write_text(json.dumps(document))
    return root


def yolo_folder(root: Path) -> Path:
    """Write two pictures and their rows, one of which is damaged."""
    for seed, name in enumerate("ab"):
        picture(root / f"images/train/{name}.jpg", seed)
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text("0 0.3 0.5 0.2 0.2\n")
    (root / "labels/train/b.txt").write_text("0 0.3 x 0.2 0.2\n0 .5 .5 .1 .1\n")
    (root / "data.yaml").write_text("names: [gap]\ntrain: images/train\n")
    return root


def with_datumaro(root: Path, format: str) -> object:
    """Read a folder with Datumaro."""
    items = datumaro.Dataset.import_from(str(root), format)
    return [(item.id, [a.get_bbox() for a in item.annotations], item.attributes) for item in items]


def with_supervision(kind: str, root: Path) -> object:
    """Read a folder with supervision."""
    if kind == "coco":
        found = supervision.DetectionDataset.from_coco(
            str(root / "images/default"), str(root / "annotations/instances_default.json")
        )
    else:
        found = supervision.DetectionDataset.from_yolo(
            str(root / "images/train"), str(root / "labels/train"), str(root / "data.yaml")
        )
    return [(Path(path).name, boxes.xyxy.tolist(), boxes.metadata) for path, _, boxes in found]


def report(what: str, read: Callable[[], object]) -> None:
    """Print what a reader returns or raises."""
    try:
        print(f"{what}: {read()}")
    except Exception as error:  # whatever it raises is the answer
        print(f"{what}: raised {type(error).__name__}: {str(error)[:120]}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        good, bad = coco_folder(top / "good", damaged=False), coco_folder(top / "bad", damaged=True)
        rows = yolo_folder(top / "yolo")
        picture(top / "cvat/images/a.jpg")
        (top / "cvat/annotations.xml").write_text(CVAT)
        for name, root in (("COCO", good), ("COCO with a damaged record", bad)):
            report(f"Datumaro, {name}", lambda root=root: with_datumaro(root, "coco_instances"))
            report(f"supervision, {name}", lambda root=root: with_supervision("coco", root))
        report("Datumaro, YOLO with a damaged row", lambda: with_datumaro(rows, "yolo_ultralytics"))
        report("supervision, YOLO with a damaged row", lambda: with_supervision("yolo", rows))
        report("Datumaro, CVAT", lambda: with_datumaro(top / "cvat", "cvat"))
        known = sorted(datumaro.Environment().importers)
        print(
            "Datumaro reads:", ", ".join(name for name in known if "studio" in name or "createml" in name) or "neither"
        )
