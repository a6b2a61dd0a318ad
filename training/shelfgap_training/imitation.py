"""Imitation: before it sees a label, the backbone learns to say what an ImageNet network says of the pictures.

A few hundred labelled photographs are little to learn seeing from; the features of a network that saw a million are
there for every cell of every picture. What this brings: docs/adr/0011-detector.md.

Source: FitNets (Romero et al. 2015, arXiv:1412.6550), hints from intermediate features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shelfgap_training.imagenet import FEATURE_CHANNELS, ImageNetFeatures

_FARTHEST = 4.0  # standard deviations; what lies beyond is cut


class Imitation(nn.Module):
    """Compares a backbone's features with those of the ImageNet network, at strides 8, 16 and 32.

    Args:
        channels: of the backbone at these strides.
        size_px: side of the square that the ImageNet network sees.
    """

    def __init__(self, channels: Sequence[int], size_px: int) -> None:
        super().__init__()
        self.size_px = size_px
        # in a list: its weights are no part of what is trained and saved
        self._example = [ImageNetFeatures()]
        self.adapters = nn.ModuleList(
            nn.Conv2d(ours, theirs, 1) for ours, theirs in zip(channels, FEATURE_CHANNELS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(theirs, affine=False) for theirs in FEATURE_CHANNELS)

    def move_example(self, device: torch.device) -> None:
        """Move the ImageNet network to where the pictures are."""
        self._example[0].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Return the mean distance of features, in standard deviations of what is imitated.

        Args:
            features: of the backbone, (B, c, h, w) at strides 8, 16, 32.
            pixels: what it saw, float (B, 3, H, W) in [0, 1].
        """
        small = F.interpolate(pixels, size=(self.size_px, self.size_px), mode="bilinear", align_corners=False)
        with torch.no_grad():
            said = self._example[0](small)
        losses = []
        for feature, theirs, adapter, norm in zip(features, said, self.adapters, self.norms, strict=True):
            wanted = norm(theirs.float()).clamp(-_FARTHEST, _FARTHEST)
            ours = F.interpolate(adapter(feature).float(), size=wanted.shape[2:], mode="bilinear", align_corners=False)
            losses.append(F.smooth_l1_loss(ours, wanted))
        return torch.stack(losses).mean()
