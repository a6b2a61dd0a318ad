"""The losses of the detector: quality focal loss for the scores, GIoU for the boxes.

Source: quality focal loss: Generalized Focal Loss (Li et al. 2020, arXiv:2006.04388), equation 3. GIoU: Rezatofighi et
al. 2019 (arXiv:1902.09630).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.assignment import Targets, assign, cell_centres, may_answer
from shelfgap_training.model import RawOutput
from shelfgap_training.params import LossParams


class Losses(NamedTuple):
    """Losses of a batch, per unit of score that is taught."""

    score: Tensor
    box: Tensor
    total: Tensor


def to_boxes(ltrb: Tensor) -> Tensor:
    """Turn distances from the cells' centres (B, 4, h, w) into corners x1, y1, x2, y2, in input pixels."""
    left, top, right, bottom = ltrb.unbind(1)
    xs, ys = cell_centres(ltrb.shape[2], ltrb.shape[3], ltrb.device)
    return torch.stack([xs - left, ys - top, xs + right, ys + bottom], dim=1)


def detection_losses(
    raw: RawOutput,
    truth_xyxy: list[Tensor],
    truth_ids: list[Tensor],
    ignored_xyxy: list[Tensor],
    labelled: Tensor,
    params: LossParams,
) -> Losses:
    """Assign the labelled boxes of a batch to cells and compare; all losses are finite for empty images.

    Args:
        raw: of the network, (B, C, h, w) and (B, 4, h, w).
        truth_xyxy: per image float (N, 4) in input pixels; (0, 4) where there are none.
        truth_ids: per image int64 (N,).
        ignored_xyxy: per image float (K, 4), regions that say nothing: their cells are no background.
        labelled: bool (B, C); where False, nobody looked for the class, and its scores are taught nothing.
        params: weights.
    """
    boxes = to_boxes(raw.ltrb)
    targets = assign(raw.logits.sigmoid(), boxes, truth_xyxy, truth_ids, params.assignment)
    height, width = targets.weight.shape[1:]
    ignored = torch.stack([may_answer(regions, height, width).any(0) for regions in ignored_xyxy])
    silent = ignored.reshape(targets.weight.shape) & (targets.weight == 0)
    return compare(raw.logits, boxes, targets, labelled[:, :, None, None] & ~silent[:, None], params)


def compare(logits: Tensor, boxes_xyxy: Tensor, targets: Targets, taught: Tensor, params: LossParams) -> Losses:
    """Compare what the network says with what it should say.

    Args:
        logits: of the network, (B, C, h, w).
        boxes_xyxy: of the network, (B, 4, h, w).
        targets: what it should say.
        taught: bool, of the shape of the logits or broadcast to it; the other scores are taught nothing.
        params: weights.
    """
    amount = targets.weight.sum().clamp(min=1.0)
    # from logits and in float32, so that bf16 training cannot overflow
    entropy = F.binary_cross_entropy_with_logits(logits, targets.scores, reduction="none")
    focus = (logits.sigmoid() - targets.scores).square()
    score_loss = (entropy * focus * taught).sum() / amount
    box_loss = ((1 - generalised_iou(boxes_xyxy, targets.boxes_xyxy)) * targets.weight).sum() / amount
    return Losses(score_loss, box_loss, score_loss + params.box_weight * box_loss)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU of boxes laid out as (B, 4, ...) in any one unit, elementwise: (B, ...), in [-1, 1]."""
    ax1, ay1, ax2, ay2 = a.unbind(1)
    bx1, by1, bx2, by2 = b.unbind(1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    return intersection / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
