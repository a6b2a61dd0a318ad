"""From raw outputs to boxes: peaks of the heatmap, in a form that exports into the ONNX graph.

Source: CenterNet (Zhou et al. 2019, arXiv:1904.07850), section 4: a 3x3 max-pool stands in for NMS.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.model import STRIDE, RawOutput


class Decoded(NamedTuple):
    """The K best candidates of each image, best first."""

    boxes_xyxy_norm: Tensor  # (B, K, 4), fractions of the frame, clipped to [0, 1]
    scores: Tensor  # (B, K), in [0, 1]
    class_ids: Tensor  # (B, K), int64


def decode(raw: RawOutput, max_detections: int) -> Decoded:
    """Pick the peaks of the heatmap and read their boxes.

    Args:
        raw: heatmap logits (B, C, h, w) and distances (B, 4, h, w).
        max_detections: K; fewer peaks leave candidates of score 0.

    Raises:
        ValueError: the grid has fewer than K cells.
    """
    logits, ltrb = raw
    batch, classes, height, width = logits.shape
    if classes * height * width < max_detections:
        raise ValueError(f"a {height}x{width} grid of {classes} classes cannot give {max_detections} candidates")
    peak = F.max_pool2d(logits, 3, stride=1, padding=1) == logits
    heat = torch.where(peak, logits.sigmoid(), torch.zeros_like(logits))
    scores, index = torch.topk(heat.reshape(batch, -1), max_detections)  # (B, K)
    class_ids = index // (height * width)
    cell = index % (height * width)
    column, row = (cell % width).float(), (cell // width).float()
    sides = ltrb.reshape(batch, 4, -1).gather(2, cell.unsqueeze(1).expand(-1, 4, -1))  # (B, 4, K)
    centre_x, centre_y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
    boxes = torch.stack(
        [
            (centre_x - sides[:, 0]) / (width * STRIDE),
            (centre_y - sides[:, 1]) / (height * STRIDE),
            (centre_x + sides[:, 2]) / (width * STRIDE),
            (centre_y + sides[:, 3]) / (height * STRIDE),
        ],
        dim=2,
    )
    return Decoded(boxes.clamp(0.0, 1.0), scores, class_ids)
