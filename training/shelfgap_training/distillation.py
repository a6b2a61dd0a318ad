"""Distillation: a larger detector says, cell by cell, what a smaller one should say of the same pictures.

Its scores are soft targets for every cell, its boxes are targets where it is sure of something. Both come on top of the
labelled boxes. A teacher of another input size sees the pictures at its own, and its answers are brought to the
student's cells.

Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531) for soft targets; the losses are those of `losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.assignment import Targets
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector
from shelfgap_training.losses import Losses, compare, to_boxes
from shelfgap_training.model import COARSEST_STRIDE, STRIDE, GapDetector, RawOutput
from shelfgap_training.params import LossParams

_SURE = 0.1  # score from which the box of a teacher's cell is worth learning


class Said(NamedTuple):
    """What a teacher says of each of the student's cells."""

    scores: Tensor  # (B, C, h, w), in [0, 1]
    boxes_xyxy: Tensor  # (B, 4, h, w), in pixels of what the student sees


def require_teacher(teacher: TrainedDetector, classes: tuple[str, ...]) -> GapDetector:
    """Return the network of a teacher.

    Raises:
        CheckpointError: it knows other classes than the student is to learn.
    """
    if teacher.classes != classes:
        raise CheckpointError(
            f"the teacher knows {', '.join(teacher.classes)}, the student is to learn {', '.join(classes)}; train one "
            "alike, or set train.distillation.teacher to null"
        )
    return teacher.model


def ask(teacher: GapDetector, pixels: Tensor, student_size: tuple[int, int]) -> Said:
    """Ask a teacher about a batch; it takes no gradient.

    Args:
        teacher: a detector.
        pixels: what the student sees, float (B, 3, H, W) in [0, 1]: its input size, or smaller pictures.
        student_size: input size of the student, (height, width). The teacher sees the batch larger by as much as its
            own input is, rounded to its cells.
    """
    shown = tuple(pixels.shape[2:])
    theirs = [
        COARSEST_STRIDE * max(1, round(side * size / ours / COARSEST_STRIDE))
        for side, size, ours in zip(shown, teacher.params.input_size, student_size, strict=True)
    ]
    with torch.no_grad():
        if tuple(theirs) != shown:
            larger = F.interpolate(pixels, size=theirs, mode="bilinear", align_corners=False)
            pixels = larger.contiguous(memory_format=torch.channels_last)
        raw = teacher(pixels)
        cells = (shown[0] // STRIDE, shown[1] // STRIDE)
        scores = F.interpolate(raw.logits.sigmoid(), size=cells, mode="bilinear", align_corners=False)
        # of the nearest cell: a mean of two cells' boxes may be the box of nothing
        boxes = F.interpolate(to_boxes(raw.ltrb), size=cells, mode="nearest-exact")
        ratio = [shown[1] / theirs[1], shown[0] / theirs[0]] * 2
        return Said(scores, boxes * torch.tensor(ratio, device=boxes.device).reshape(1, 4, 1, 1))


def distillation_losses(raw: RawOutput, said: Said, params: LossParams) -> Losses:
    """Compare a student with what its teacher said of the same batch.

    Args:
        raw: of the student, (B, C, h, w) and (B, 4, h, w).
        said: of the teacher.
        params: weights.
    """
    with torch.no_grad():
        best: Tensor = said.scores.amax(1)
        sure = torch.where(best > _SURE, best, torch.zeros_like(best))
        targets = Targets(said.scores, said.boxes_xyxy, sure)
    everything = torch.ones((), dtype=torch.bool, device=said.scores.device)
    return compare(raw.logits, to_boxes(raw.ltrb), targets, everything, params)
