"""Small pictures first: most epochs see them at a share of the input size, the last ones whole.

A training step costs what its pixels cost, so the same time holds more epochs; the last ones get used to the size that
counts.

Source: progressive learning, EfficientNetV2 (Tan, Le 2021, arXiv:2104.00298), section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shelfgap_training.model import COARSEST_STRIDE


def shrink(pixels: Tensor, boxes_xyxy: Sequence[Tensor], scale: float) -> tuple[Tensor, list[Tensor]]:
    """Return a batch at a share of its size, each side rounded to a multiple of 32, with its boxes.

    Args:
        pixels: float (B, 3, H, W).
        boxes_xyxy: per image float (N, 4) in pixels; (0, 4) stays.
        scale: in (0, 1].

    >>> pixels, (boxes,) = shrink(torch.zeros(1, 3, 320, 640), [torch.tensor([[0.0, 100, 320, 320]])], 0.7)
    >>> tuple(pixels.shape), boxes.tolist()
    ((1, 3, 224, 448), [[0.0, 70.0, 224.0, 224.0]])
    """
    height, width = pixels.shape[2:]
    size = [COARSEST_STRIDE * max(1, round(side * scale / COARSEST_STRIDE)) for side in (height, width)]
    small = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    ratio = torch.tensor([size[1] / width, size[0] / height] * 2, device=pixels.device)
    return small.contiguous(memory_format=torch.channels_last), [boxes * ratio for boxes in boxes_xyxy]
