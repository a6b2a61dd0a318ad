"""Distillation: a larger detector says, cell by cell, what a smaller one should say of the same pictures.

Its scores are soft targets for every cell, its boxes are targets where it is sure of something. Both come on top of the
labelled boxes.

Source: Hinton, Vinyals, Dean 2015 (arXiv:1503.02531) for soft targets; the losses are those of `losses`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfgap_training.assignment import Targets
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector
from shelfgap_training.losses import Losses, compare, to_boxes
from shelfgap_training.model import GapDetector, RawOutput
from shelfgap_training.params import LossParams, ModelParams

_SURE = 0.1  # score from which the box of a teacher's cell is worth learning


def require_teacher(teacher: TrainedDetector, classes: tuple[str, ...], student: ModelParams) -> GapDetector:
    """Return the network of a teacher that fits a student.

    Raises:
        CheckpointError: it knows other classes, or sees pictures at another size.
    """
    theirs = teacher.model.params.input_size
    if teacher.classes != classes or theirs != student.input_size:
        raise CheckpointError(
            f"the teacher knows {', '.join(teacher.classes)} at {theirs[0]}x{theirs[1]} pixels, the student is to "
            f"learn {', '.join(classes)} at {student.input_size[0]}x{student.input_size[1]}; train one alike, or set "
            "train.distillation.teacher to null"
        )
    return teacher.model


def distillation_losses(raw: RawOutput, teacher: RawOutput, params: LossParams) -> Losses:
    """Compare a student with its teacher on the same batch; the teacher takes no gradient.

    Args:
        raw: of the student, (B, C, h, w) and (B, 4, h, w).
        teacher: the same of the teacher.
        params: weights.
    """
    with torch.no_grad():
        scores = teacher.logits.sigmoid()
        best: Tensor = scores.amax(1)
        sure = torch.where(best > _SURE, best, torch.zeros_like(best))
        targets = Targets(scores, to_boxes(teacher.ltrb), sure)
        labelled = torch.ones(scores.shape[:2], dtype=torch.bool, device=scores.device)
    return compare(raw.logits, to_boxes(raw.ltrb), targets, labelled, params)
