"""Pictures with known pixels, and labels for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ALIASES: dict[str, list[str]] = {
    "gap": ["empty", "empty shelf", "void"],
    "low": [],
    "occluder": [],
    "ignore": ["disorganized"],
}


def paint(path: Path, seed: int = 0, size: tuple[int, int] = (60, 80), **save: Any) -> Path:
    """Write a picture of coarse random blocks, so that its perceptual hash is its own."""
    height, width = size
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **save)
    return path


def coco(
    images: Mapping[str, list[list[float]]], size: tuple[int, int] = (60, 80), name: str = "Empty"
) -> dict[str, Any]:
    """Return a COCO document: file name -> boxes x, y, width, height."""
    return {
        "images": [
            {"id": i, "file_name": file, "height": size[0], "width": size[1]} for i, file in enumerate(images, 1)
        ],
        "categories": [{"id": 3, "name": "Empty"}],
        "annotations": [
            {"id": 10 * i + j, "image_id": i, "category_id": 3, "bbox": box}
            for i, boxes in enumerate(images.values(), 1)
            for j, box in enumerate(boxes)
        ],
    }
