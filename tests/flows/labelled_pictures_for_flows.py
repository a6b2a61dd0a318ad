"""A COCO folder of pictures that resemble nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_coco_folder(root: Path, groups: int) -> Path:
    """Write one picture of random blocks and one box a group."""
    root.mkdir()
    images, annotations = [], []
    for number in range(1, groups + 1):
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(blocks).resize((80, 60), Image.Resampling.NEAREST)
        name = f"{chr(96 + number) * 4}.jpg"
        picture.save(root / name, quality=95)
        images.append({"id": number, "file_name": name, "height": 60, "width": 80})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [10, 20, 30, 20]})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "Empty"}]}
    (root / "labels.json").write_text(json.dumps(document))
    return root
