"""Which cells of the grid answer for which labelled box, chosen by how well they already do.

A cell is worth its score for the box's class times its overlap with the box; the best few cells of a box answer for it,
and the score that each is taught is that worth, scaled so that the best cell is taught its own overlap. So a high score
comes to mean a good box.

Source: TOOD (Feng et al. 2021, arXiv:2108.07755), section 3.2, equations 3 and 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.model import STRIDE
from shelfgap_training.params import AssignmentParams

_REACH_CELLS = 0.75  # a box smaller than the grid can still be claimed by the cells around its centre
_LEAST_TARGET = 0.1  # what a cell is taught that nothing but its place speaks for


class Targets(NamedTuple):
    """What the network should say of a batch."""

    scores: Tensor  # (B, C, h, w) in [0, 1]; 0 where a cell answers for no box of the class
    boxes_xyxy: Tensor  # (B, 4, h, w), input pixels, of the box a cell answers for
    weight: Tensor  # (B, h, w), the score that is taught; 0 where a cell answers for no box


def assign(
    scores: Tensor, boxes_xyxy: Tensor, truth_xyxy: list[Tensor], truth_ids: list[Tensor], params: AssignmentParams
) -> Targets:
    """Choose the cells of a batch; no gradient flows.

    Args:
        scores: of the network, (B, C, h, w) in [0, 1].
        boxes_xyxy: of the network, (B, 4, h, w) in input pixels.
        truth_xyxy: per image float (N, 4) in input pixels; (0, 4) where there are none.
        truth_ids: per image int64 (N,), class of each box.
        params: how many cells, and how score and overlap count.
    """
    batch, classes, height, width = scores.shape
    device = scores.device
    most = max((len(boxes) for boxes in truth_xyxy), default=0)
    if most == 0:
        empty = torch.zeros(batch, classes + 5, height, width, device=device)
        return Targets(empty[:, :classes], empty[:, classes : classes + 4], empty[:, -1])
    truth = torch.zeros(batch, most, 4, device=device)
    ids = torch.zeros(batch, most, dtype=torch.long, device=device)
    exists = torch.zeros(batch, most, 1, dtype=torch.bool, device=device)
    for i, (boxes, classes_of) in enumerate(zip(truth_xyxy, truth_ids, strict=True)):
        truth[i, : len(boxes)], ids[i, : len(boxes)], exists[i, : len(boxes)] = boxes, classes_of, True

    with torch.no_grad():
        p = scores.float().flatten(2).gather(1, ids.unsqueeze(2).expand(-1, -1, height * width))  # (B, N, P)
        iou = pairwise_iou(truth, boxes_xyxy.float().flatten(2))  # (B, N, P)
        away_x, away_y = _away(truth, height, width)
        inside = _reaches(truth, away_x, away_y)
        worth = p.pow(params.score_power) * iou.pow(params.iou_power) * (inside & exists)
        best = worth.topk(min(params.cells_per_box, height * width), dim=2)
        chosen = torch.zeros_like(inside).scatter(2, best.indices, best.values > 1e-12)
        # a box that no cell comes near is given to the one at its centre
        nearest = F.one_hot((away_x.square() + away_y.square()).argmin(2), height * width).bool()
        chosen |= nearest & exists & ~chosen.any(2, keepdim=True)
        # a cell that several boxes want answers for the one it overlaps most
        favourite = torch.where(chosen, iou, -1.0).argmax(1, keepdim=True)  # (B, 1, P)
        chosen &= torch.arange(most, device=device).reshape(1, -1, 1) == favourite
        worth, overlap = worth * chosen, iou * chosen
        top_worth, top_overlap = worth.amax(2, keepdim=True), overlap.amax(2, keepdim=True)
        scaled = worth / top_worth.clamp(min=1e-12) * top_overlap
        taught = torch.where(top_worth > 1e-9, scaled, chosen * top_overlap.clamp(min=_LEAST_TARGET))  # (B, N, P)

        weight = taught.amax(1)  # (B, P)
        owner = favourite.squeeze(1)
        target_boxes = truth.transpose(1, 2).gather(2, owner.unsqueeze(1).expand(-1, 4, -1))
        target_scores = torch.zeros(batch, classes, height * width, device=device)
        target_scores.scatter_(1, ids.gather(1, owner).unsqueeze(1), weight.unsqueeze(1))
    return Targets(
        target_scores.reshape(scores.shape),
        target_boxes.reshape(boxes_xyxy.shape),
        weight.reshape(batch, height, width),
    )


def may_answer(boxes_xyxy: Tensor, height: int, width: int) -> Tensor:
    """Return which cells of a grid may answer for boxes (..., N, 4), by their place: bool (..., N, height * width).

    >>> may_answer(torch.tensor([[0.0, 0, 9, 20], [7.5, 7.5, 8.5, 8.5]]), 2, 3).int().tolist()
    [[1, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 0]]
    """
    return _reaches(boxes_xyxy, *_away(boxes_xyxy, height, width))


def _reaches(boxes_xyxy: Tensor, away_x: Tensor, away_y: Tensor) -> Tensor:
    half = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]) / 2
    half_x, half_y = half.clamp(min=_REACH_CELLS * STRIDE).unsqueeze(-1).unbind(-2)  # (..., N, 1)
    return (away_x <= half_x) & (away_y <= half_y)


def _away(boxes_xyxy: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return how far each cell of a grid is from the centre of each box, along x and y, each (..., N, P)."""
    xs, ys = (axis.reshape(-1) for axis in cell_centres(height, width, boxes_xyxy.device))
    x1, y1, x2, y2 = boxes_xyxy.unsqueeze(-1).unbind(-2)  # (..., N, 1)
    return (xs - (x1 + x2) / 2).abs(), (ys - (y1 + y2) / 2).abs()


def cell_centres(height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return x and y of the centres of a grid's cells in input pixels, each (height, width)."""
    ys = (torch.arange(height, device=device) + 0.5) * STRIDE
    xs = (torch.arange(width, device=device) + 0.5) * STRIDE
    return xs.expand(height, width), ys.unsqueeze(1).expand(height, width)


def pairwise_iou(truth_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """IoU of each labelled box (B, N, 4) with each cell's box (B, 4, P): (B, N, P) in [0, 1]."""
    x1, y1, x2, y2 = truth_xyxy.unsqueeze(3).unbind(2)  # (B, N, 1)
    bx1, by1, bx2, by2 = boxes_xyxy.unsqueeze(1).unbind(2)  # (B, 1, P)
    width = (torch.minimum(x2, bx2) - torch.maximum(x1, bx1)).clamp(min=0)
    height = (torch.minimum(y2, by2) - torch.maximum(y1, by1)).clamp(min=0)
    intersection = width * height
    union = (x2 - x1) * (y2 - y1) + (bx2 - bx1) * (by2 - by1) - intersection
    return intersection / union.clamp(min=1e-6)
