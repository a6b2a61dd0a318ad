"""The gap detector: a plain 3x3 ReLU network on one page.

A 4x4 patchify stem, four stages of re-parameterised 3x3 convolutions (strides 4, 8, 16, 32), a feature pyramid
with nearest upsampling back to stride 8, and a head: for each cell a score per class, how well its box covers an
object of that class, and the distances from the cell's centre to the four sides of that box. Everything but the head's
last layers is a dense 3x3 or 1x1 convolution with ReLU, the shape that INT8 kernels run closest to the peak of a
processor.

Source: RepVGG (Ding et al. 2021, arXiv:2101.03697) and its online form OREPA (Hu et al. 2022, arXiv:2204.00826)
for the blocks; FCOS (Tian et al. 2019, arXiv:1904.01355) for the heads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shelfgap_training.params import ModelParams

STRIDE = 8  # of the cells that answer
COARSEST_STRIDE = 32  # sides of pictures are its multiples
_PRIOR = 0.01  # score of every cell before training: few cells answer for a box


class RawOutput(NamedTuple):
    """What the network says of each cell of a (H/8, W/8) grid."""

    logits: Tensor  # (B, C, H/8, W/8), of the scores
    ltrb: Tensor  # (B, 4, H/8, W/8): left, top, right, bottom from the cell's centre, pixels, positive


class RepBlock(nn.Module):
    """3x3 + 1x1 (+ scaled identity) kernels, summed before one convolution, batch norm and ReLU.

    The branches are summed as weights, not as feature maps: on a CPU this trains about as fast as a plain
    convolution, where RepVGG's three normalised branches cost more than twice the time.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv3 = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.conv1 = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        nn.init.kaiming_normal_(self.conv3, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv1, nonlinearity="relu")
        same = stride == 1 and in_channels == out_channels
        self.identity = nn.Parameter(torch.ones(out_channels)) if same else None
        self.bn = nn.BatchNorm2d(out_channels)

    def kernel(self) -> Tensor:
        """Return the summed kernel, (out, in, 3, 3)."""
        centre = self.conv1[:, :, 0, 0]
        if self.identity is not None:
            centre = centre + torch.diag(self.identity)
        return self.conv3 + F.pad(centre[:, :, None, None], (1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        return F.relu(self.bn(F.conv2d(x, self.kernel(), stride=self.stride, padding=1)))

    def fold(self) -> nn.Sequential:
        """Return the same function, in evaluation mode, as one convolution and a ReLU."""
        kernel, bias = fold_norm(self.kernel(), self.bn)
        return nn.Sequential(_convolution(kernel, bias, self.stride, 1), nn.ReLU())


class ConvBlock(nn.Module):
    """One convolution with batch norm and ReLU; folds likewise."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        padding = 0 if stride == kernel else kernel // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H/stride, W/stride)."""
        return F.relu(self.bn(self.conv(x)))

    def fold(self) -> nn.Sequential:
        """Return the same function, in evaluation mode, as one convolution and a ReLU."""
        kernel, bias = fold_norm(self.conv.weight, self.bn)
        return nn.Sequential(
            _convolution(kernel, bias, self.conv.stride[0], self.conv.padding[0]),  # type: ignore[arg-type]
            nn.ReLU(),
        )


class GapDetector(nn.Module):
    """Pixels in, scores and box distances out.

    Args:
        params: widths, depths, input size.
        num_classes: channels of the scores.
    """

    def __init__(self, params: ModelParams, num_classes: int) -> None:
        super().__init__()
        self.params = params
        self.num_classes = num_classes
        c4, c8, c16, c32 = params.stage_channels
        n4, n8, n16, n32 = params.stage_blocks
        width = params.neck_channels

        def stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
            rest = [RepBlock(out_channels, out_channels) for _ in range(blocks - 1)]
            return nn.Sequential(RepBlock(in_channels, out_channels, stride=2), *rest)

        self.stem = ConvBlock(3, c4, kernel=4, stride=4)
        self.stage4 = nn.Sequential(*[RepBlock(c4, c4) for _ in range(n4)])
        self.stage8 = stage(c4, c8, n8)
        self.stage16 = stage(c8, c16, n16)
        self.stage32 = stage(c16, c32, n32)
        self.lateral8 = ConvBlock(c8, width, 1)
        self.lateral16 = ConvBlock(c16, width, 1)
        self.lateral32 = ConvBlock(c32, width, 1)
        self.smooth16 = RepBlock(width, width)
        self.smooth8 = RepBlock(width, width)
        self.head = RepBlock(width, params.head_channels)
        self.score = nn.Conv2d(params.head_channels, num_classes, 1)
        self.box = nn.Conv2d(params.head_channels, 4, 1)
        nn.init.constant_(self.score.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.constant_(self.box.bias, 1.0)  # type: ignore[arg-type]  # e^1 cells: a typical half box

    def forward(self, pixels: Tensor) -> RawOutput:
        """Detect.

        Args:
            pixels: float (B, 3, H, W) RGB in [0, 1], H and W multiples of `COARSEST_STRIDE`.
        """
        x8, x16, x32 = self.backbone(pixels)
        p16 = self.smooth16(self.lateral16(x16) + _double(self.lateral32(x32)))  # (B, n, H/16, W/16)
        p8 = self.smooth8(self.lateral8(x8) + _double(p16))  # (B, n, H/8, W/8)
        features = self.head(p8)  # (B, h, H/8, W/8)
        # exp keeps distances positive; the clamp bounds them to 8 * e^5 = 1187 px and the loss stays finite
        ltrb = self.box(features).float().clamp(max=5.0).exp() * STRIDE
        return RawOutput(self.score(features).float(), ltrb)

    def backbone(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features of pixels (B, 3, H, W) at strides 8, 16 and 32."""
        x4 = self.stage4(self.stem(pixels))  # (B, c4, H/4, W/4)
        x8 = self.stage8(x4)  # (B, c8, H/8, W/8)
        x16 = self.stage16(x8)  # (B, c16, H/16, W/16)
        return x8, x16, self.stage32(x16)  # (B, c32, H/32, W/32)

    def fold(self) -> GapDetector:
        """Return a copy in evaluation mode with every block folded into a single convolution."""
        folded = GapDetector(self.params, self.num_classes)
        folded.load_state_dict(self.state_dict())
        folded.eval()
        with torch.no_grad():
            _fold_children(folded)
        return folded


def count_macs(model: GapDetector) -> int:
    """Count the multiply-accumulates of the folded network's convolutions for one frame."""
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += module.weight[0].numel() * output[0].numel()

    folded = model.fold()
    hooks = [m.register_forward_hook(add) for m in folded.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        folded(torch.zeros(1, 3, *model.params.input_size))
    for hook in hooks:
        hook.remove()
    return total


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def fold_norm(kernel: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return kernel (out, in, h, w) and bias (out,) that do what a kernel and the norm after it do in evaluation."""
    assert bn.running_var is not None
    assert bn.running_mean is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return kernel * scale.reshape(-1, 1, 1, 1), bn.bias - bn.running_mean * scale


def _convolution(kernel: Tensor, bias: Tensor, stride: int, padding: int) -> nn.Conv2d:
    out_channels, in_channels, size, _ = kernel.shape
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding)
    conv.weight.copy_(kernel)
    assert conv.bias is not None
    conv.bias.copy_(bias)
    return conv


def _fold_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, RepBlock | ConvBlock):
            setattr(module, name, child.fold())
        else:
            _fold_children(child)
