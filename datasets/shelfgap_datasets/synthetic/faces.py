"""Product faces from a folder of pictures, for shelves that show real packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shelfgap_datasets.schema import DatasetError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_SIDE_PX = 300  # pictures are shrunk to this longer side
_WHITE = 228  # level from which a pixel may be a plain ground
_LEAST_COVER = 0.08  # of the picture; a smaller cut-out is no product
_CROP = (0.7, 0.5)  # (height, width) of what is taken from the middle of a natural photograph


@dataclass(frozen=True)
class Face:
    """The front of a product.

    Attributes:
        sprite: uint8 (h, w, 4): RGB multiplied by alpha, and alpha.
        is_cut_out: it stood on a plain ground and has an outline of its own; else it fills its rectangle.
    """

    sprite: NDArray[np.uint8]
    is_cut_out: bool

    @property
    def aspect(self) -> float:
        """Width by height."""
        return float(self.sprite.shape[1] / self.sprite.shape[0])


def load_faces(folder: Path) -> tuple[Face, ...]:
    """Load all pictures below a folder, sorted by path; one on a plain light ground is cut out along its outline.

    Raises:
        DatasetError: no such folder, or no usable picture in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; --products takes a folder of product pictures")
    faces = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES):
        try:
            with Image.open(path) as image:
                image.thumbnail((_SIDE_PX, _SIDE_PX))
                faces.append(_face(np.array(image.convert("RGB"))))
        except (OSError, ValueError):
            continue  # a damaged picture is no product
    if not faces:
        raise DatasetError(f"{folder}: no readable picture (jpg, png, webp); expected product pictures")
    return tuple(faces)


def _face(image: NDArray[np.uint8]) -> Face:
    height, width = image.shape[:2]
    light = (image.min(2) >= _WHITE).astype(np.uint8)
    frame = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    if frame.mean() > 0.9:
        flooded = np.zeros((height + 2, width + 2), np.uint8)
        ground = cv2.copyMakeBorder(light, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
        padded = np.zeros((height + 4, width + 4), np.uint8)
        cv2.floodFill(ground, padded, (0, 0), 2)
        flooded[:] = ground == 2
        solid = cv2.morphologyEx(1 - flooded[1:-1, 1:-1], cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        if solid.mean() > _LEAST_COVER:
            area = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            alpha = cv2.GaussianBlur(255 * solid[area], (0, 0), 0.7)
            colour = cv2.multiply(image[area], cv2.merge([alpha] * 3), scale=1 / 255)
            return Face(np.dstack([colour, alpha]), is_cut_out=True)
    tall, wide = int(_CROP[0] * height), int(_CROP[1] * width)
    top, left = (height - tall) // 2, (width - wide) // 2
    middle = image[top : top + tall, left : left + wide]
    return Face(np.dstack([middle, np.full((tall, wide), 255, np.uint8)]), is_cut_out=False)
