"""Augmentation for gaps: enlarge one over its neighbour, or make another beside it, from mirrored shelf back.

Gaps are rare and shelves alike; copying the mirrored interior of a gap over nearby products gives more of them, and
larger ones, with true boxes. Meant for a first phase of the training, before the originals.

Source: Šikić, Kalafatić, Subašić, Lončarić, "Enhanced Out-of-Stock Detection in Retail Shelf Images Based on Deep
Learning", Sensors 2024, 24(2), 693, doi 10.3390/s24020693 (duplicating and mirroring gaps over nearby products).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
import albumentations as A

_LEAST_PX = 6.0  # a smaller gap has no interior worth copying
_SHARE = (0.5, 1.0)  # of the gap's width that is added
_FEATHER_PX = 3  # width of the soft edge of what is pasted


class _Paste(NamedTuple):
    """A region of shelf back that is mirrored to another place in the same row."""

    source: tuple[int, int, int, int]  # x1, y1, x2, y2, pixels
    x: int  # left edge of the copy
    grows: int | None  # row of the box that grows; None when a box is added
    label: float  # class of the added box


class GapGrowth(A.DualTransform):  # type: ignore[misc]  # Albumentations has no types
    """Enlarge gaps over the products beside them, or copy one a little further along the shelf.

    Nothing is pasted over another labelled box, nor over the edge of the picture.

    Args:
        gap_id: number of the class `gap` in the label field.
        most: most gaps changed a picture.
        p: share of the pictures that are changed.
    """

    _targets = (A.core.type_definitions.Targets.IMAGE, A.core.type_definitions.Targets.BBOXES)

    def __init__(self, gap_id: int, most: int = 3, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.gap_id = gap_id
        self.most = most

    @property
    def targets_as_params(self) -> list[str]:
        """Say that the boxes decide what is pasted."""
        return ["bboxes"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Choose gaps and where their copies go."""
        height, width = params["shape"][:2]
        rows = np.asarray(data["bboxes"], np.float32).reshape(len(data["bboxes"]), -1)
        boxes = rows[:, :4] * np.array([width, height] * 2, np.float32)
        taken = boxes.copy()
        pastes: list[_Paste] = []
        gaps = [i for i in range(len(rows)) if rows.shape[1] > 4 and rows[i, -1] == self.gap_id]
        for row in self.py_random.sample(gaps, min(len(gaps), self.py_random.randint(1, self.most))):
            paste = self._choose(boxes[row], row, taken, width)
            if paste is not None:
                x1, y1, x2, y2 = paste.source
                pastes.append(paste)
                taken = np.vstack([taken, [(paste.x, y1, paste.x + x2 - x1, y2)]]).astype(np.float32)
        return {"pastes": pastes}

    def _choose(
        self, box: NDArray[np.float32], row: int, taken: NDArray[np.float32], frame_width: int
    ) -> _Paste | None:
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        if x2 - x1 < _LEAST_PX or y2 - y1 < _LEAST_PX:
            return None
        wide = max(int(_LEAST_PX), round((x2 - x1) * self.py_random.uniform(*_SHARE)))
        sides = ["left", "right"]
        self.py_random.shuffle(sides)
        grows = self.py_random.random() < 0.5
        away = 0 if grows else round((x2 - x1) * self.py_random.uniform(0.5, 2.0)) + int(_LEAST_PX)
        others = np.delete(taken, row, axis=0) if grows else taken
        for side in sides:
            # what lies next to the edge is mirrored across it
            source = (x1, y1, min(x2, x1 + wide), y2) if side == "left" else (max(x1, x2 - wide), y1, x2, y2)
            at = x1 - away - (source[2] - source[0]) if side == "left" else x2 + away
            target = (at, y1, at + source[2] - source[0], y2)
            if target[0] >= 0 and target[2] <= frame_width and not _meets(target, others):
                return _Paste(source, at, row if grows else None, float(self.gap_id))
        return None

    def apply(self, img: NDArray[np.uint8], pastes: list[_Paste], **_: Any) -> NDArray[np.uint8]:
        """Paste the mirrored regions with soft side edges; uint8 (H, W, C)."""
        if not pastes:
            return img
        image = img.copy()
        for paste in pastes:
            x1, y1, x2, y2 = paste.source
            patch = img[y1:y2, x1:x2][:, ::-1].astype(np.float32)
            ramp = np.minimum(np.arange(1, x2 - x1 + 1), np.arange(x2 - x1, 0, -1)) / (_FEATHER_PX + 1)
            alpha = np.clip(ramp, 0, 1).astype(np.float32)[None, :, None]
            region = image[y1:y2, paste.x : paste.x + x2 - x1]
            region[:] = cv2.add(patch * alpha, region.astype(np.float32) * (1 - alpha)).astype(np.uint8)
        return image

    def apply_to_bboxes(self, bboxes: NDArray[np.float32], pastes: list[_Paste], **params: Any) -> NDArray[np.float32]:
        """Widen the boxes that grew and add those that are new; normalised corners and labels, (N, 4 + L)."""
        height, width = params["shape"][:2]
        out = np.array(bboxes, np.float32)
        added = []
        for paste in pastes:
            x1, y1, x2, y2 = paste.source
            left, right = paste.x / width, (paste.x + x2 - x1) / width
            if paste.grows is not None:
                out[paste.grows, 0] = min(out[paste.grows, 0], left)
                out[paste.grows, 2] = max(out[paste.grows, 2], right)
            else:
                row = np.zeros(out.shape[1], np.float32)
                row[:4] = left, y1 / height, right, y2 / height
                row[4:] = paste.label
                added.append(row)
        return np.vstack([out, *added]).astype(np.float32) if added else out


def _meets(target: tuple[int, int, int, int], boxes: NDArray[np.float32]) -> bool:
    x1, y1, x2, y2 = target
    return bool(((boxes[:, 0] < x2) & (boxes[:, 2] > x1) & (boxes[:, 1] < y2) & (boxes[:, 3] > y1)).any())
