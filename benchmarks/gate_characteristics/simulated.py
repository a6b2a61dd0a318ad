"""Two detectors on the same shelves, as tables of matches, without pictures.

Boxes and distractors have a strength that both detectors see, by group, picture and object, and each sees some of its
own beside it. A box whose strength is below a level is not found. A worse detector sees boxes weaker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shelfgap_training.figures import FIGURES, ClassMatches
from shelfgap_training.matching import COCO_IOUS

CLASSES = 2
_OWN = 0.7  # spread of what a detector sees by itself, logits
_GROUP, _PICTURE, _OBJECT = 0.6, 0.4, 1.0  # spread of what both see
_BOX, _DISTRACTOR, _FOUND_FROM = 0.35, -2.2, -0.9  # mean strengths, and the least of a box that is found
_BOXES_A_PICTURE, _DISTRACTORS_A_PICTURE = 1.5, 5.0  # of a class


@dataclass(frozen=True, eq=False)
class Shelves:
    """Pictures in groups, and what stands in them, by class."""

    groups: int
    pictures_a_group: int
    seed: int

    @property
    def pictures(self) -> int:
        """How many there are."""
        return self.groups * self.pictures_a_group

    @property
    def clusters(self) -> list[str]:
        """The group of each picture."""
        return [str(picture // self.pictures_a_group) for picture in range(self.pictures)]

    def detector(self, number: int, drop: float = 0.0) -> list[ClassMatches]:
        """Return what a detector finds: of the same quality for any number, weaker by `drop` logits on boxes."""
        shared = np.random.default_rng([self.seed, 0])
        own = np.random.default_rng([self.seed, 1 + number])
        group = np.repeat(shared.normal(0, _GROUP, self.groups), self.pictures_a_group)
        level = group + shared.normal(0, _PICTURE, self.pictures)
        return [self._table(level, shared, own, drop) for _ in range(CLASSES)]

    def _table(
        self, level: NDArray[np.float64], shared: np.random.Generator, own: np.random.Generator, drop: float
    ) -> ClassMatches:
        empty = shared.random(self.pictures) < 0.25
        boxes = np.where(empty, 0, shared.poisson(_BOXES_A_PICTURE, self.pictures))
        others = shared.poisson(_DISTRACTORS_A_PICTURE, self.pictures)
        of_box, of_other = (np.repeat(np.arange(self.pictures), count) for count in (boxes, others))
        box = _BOX - drop + level[of_box] + shared.normal(0, _OBJECT, len(of_box)) + own.normal(0, _OWN, len(of_box))
        other = _DISTRACTOR + shared.normal(0, _OBJECT, len(of_other)) + own.normal(0, _OWN, len(of_other))
        found = box > _FOUND_FROM
        strength = np.concatenate([box[found], other])
        image = np.concatenate([of_box[found], of_other])
        hit = np.concatenate([np.ones(found.sum(), np.bool_), np.zeros(len(other), np.bool_)])
        order = np.argsort(-strength)
        scores = (1 / (1 + np.exp(-strength[order]))).astype(np.float32)
        is_hit = np.repeat(hit[order][None], len(COCO_IOUS), axis=0)
        return ClassMatches(scores, image[order], is_hit, boxes, np.ones(self.pictures, np.bool_), 0.5)


def drop_of(points: float, figure: str = "ap50") -> tuple[float, float]:
    """Return the logits that cost so much of a figure, and the figure of a detector without, on a large set."""
    shelves = Shelves(4000, 3, 999)
    once = np.ones((1, shelves.pictures), np.int64)

    def value(drop: float) -> float:
        return float(FIGURES[figure](shelves.detector(0, drop), once)[0])

    base, low, high = value(0.0), 0.0, 2.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if base - value(middle) < points else (low, middle)
    return (low + high) / 2, base
