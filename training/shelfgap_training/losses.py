"""Targets and losses of the detector: a Gaussian heatmap of centres, and GIoU for the boxes below it.

Source: TTFNet (Liu et al. 2020, arXiv:1909.00700): elliptic Gaussians after the box's shape, and every cell
under a Gaussian trains the box, weighted by it. Focal loss: CornerNet (Law & Deng 2018, arXiv:1808.01244),
equation 1. GIoU: Rezatofighi et al. 2019 (arXiv:1902.09630).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.model import STRIDE, RawOutput
from shelfgap_training.params import LossParams


class Targets(NamedTuple):
    """What the network should say of a batch."""

    heatmap: Tensor  # (B, C, h, w) in [0, 1], 1 at box centres
    boxes_xyxy: Tensor  # (B, 4, h, w), input pixels, of the box a cell answers for
    weight: Tensor  # (B, h, w), 0 where a cell answers for no box; sums to about 1 per box


class Losses(NamedTuple):
    """Mean losses of a batch."""

    heatmap: Tensor
    box: Tensor
    total: Tensor


def build_targets(
    boxes_xyxy: list[Tensor],
    class_ids: list[Tensor],
    num_classes: int,
    input_size: tuple[int, int],
    gaussian_alpha: float,
) -> Targets:
    """Draw the boxes of a batch into target maps; where boxes overlap, the smaller one keeps the cell.

    Args:
        boxes_xyxy: per image float (N, 4) in input pixels; (0, 4) where there are none.
        class_ids: per image int64 (N,).
        num_classes: C.
        input_size: (height, width) in pixels.
        gaussian_alpha: share of a box that its Gaussian spans.
    """
    height, width = input_size[0] // STRIDE, input_size[1] // STRIDE
    batch = len(boxes_xyxy)
    heatmap = torch.zeros(batch, num_classes, height, width)
    target = torch.zeros(batch, 4, height, width)
    weight = torch.zeros(batch, height, width)
    ys = torch.arange(height).reshape(-1, 1) + 0.5
    xs = torch.arange(width).reshape(1, -1) + 0.5
    for i, (boxes, ids) in enumerate(zip(boxes_xyxy, class_ids, strict=True)):
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for j in torch.argsort(areas, descending=True).tolist():
            box = boxes[j]
            # the centre in cells, snapped to the middle of the cell that holds it, so that its target is exactly 1
            column = ((box[0] + box[2]) / 2 / STRIDE).floor().clamp(0, width - 1)
            row = ((box[1] + box[3]) / 2 / STRIDE).floor().clamp(0, height - 1)
            sigma_x = ((box[2] - box[0]) / STRIDE * gaussian_alpha / 6).clamp(min=0.2)
            sigma_y = ((box[3] - box[1]) / STRIDE * gaussian_alpha / 6).clamp(min=0.2)
            dx, dy = (xs - column - 0.5) / sigma_x, (ys - row - 0.5) / sigma_y
            gaussian = torch.exp(-(dx.square() + dy.square()) / 2)
            gaussian[(dx.abs() > 3) | (dy.abs() > 3)] = 0
            channel = heatmap[i, ids[j]]
            torch.maximum(channel, gaussian, out=channel)
            inside = gaussian > 0.01
            target[i, :, inside] = box.reshape(4, 1)
            weight[i][inside] = gaussian[inside] / gaussian[inside].sum()
    return Targets(heatmap, target, weight)


def detection_losses(raw: RawOutput, targets: Targets, params: LossParams) -> Losses:
    """Compare outputs (B, C, h, w) and (B, 4, h, w) with targets; all losses are finite for empty images."""
    logits, ltrb = raw
    # in float32 and from logits, so that bf16 training cannot overflow
    positive = targets.heatmap == 1
    count = positive.sum().clamp(min=1)
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    hit = (1 - p).square() * log_p * positive
    miss = (1 - targets.heatmap).pow(4) * p.square() * log_not_p * ~positive
    heatmap_loss = -(hit.sum() + miss.sum()) / count

    _, _, height, width = logits.shape
    ys = (torch.arange(height, device=ltrb.device).reshape(-1, 1) + 0.5) * STRIDE
    xs = (torch.arange(width, device=ltrb.device).reshape(1, -1) + 0.5) * STRIDE
    left, top, right, bottom = ltrb.unbind(1)
    predicted = torch.stack([xs - left, ys - top, xs + right, ys + bottom], dim=1)
    loss = (1 - generalised_iou(predicted, targets.boxes_xyxy)) * targets.weight
    box_loss = loss.sum() / targets.weight.sum().clamp(min=1.0)
    return Losses(heatmap_loss, box_loss, heatmap_loss + params.box_weight * box_loss)


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
