"""EfficientNet-Lite0 up to its fifth stage, as timm builds it and with timm's names: convolutions, no weights.

Written out here because importing timm takes a second. Source: Tan and Le 2019, and Google's Lite variant of it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from steervit.inference.convolutions import same_padding

EPS = 1e-3  # of batch norms
# Kernel, stride of the first block, channels, blocks of each stage after the first, whose blocks do not widen.
STAGES = ((3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3), (5, 1, 112, 3))
STEM, FIRST, WIDENED = 32, 16, 6


class Conv2dSame(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride more below and to the right."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride), rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, right = (same_padding(side, kernel, stride) for side in input.shape[2:])
        padded = F.pad(input, (*right, *down))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Norm(nn.BatchNorm2d):
    """Batch norm with the activation after it."""

    def __init__(self, channels: int, clipped: bool) -> None:
        super().__init__(channels, EPS)
        self.act: nn.Module = nn.ReLU6() if clipped else nn.Identity()

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return self.act(super().forward(input))


class DepthwiseSeparable(nn.Module):
    """A convolution of each channel, then one that mixes them."""

    has_skip = False

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = _convolution(channels, channels, 3, 1, channels), Norm(channels, True)
        self.conv_pw, self.bn2 = _convolution(channels, out, 1), Norm(out, False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H, W)."""
        return self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))


class InvertedResidual(nn.Module):
    """Widened, a convolution of each channel, narrowed; added to what entered where the sizes are the same."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = WIDENED * channels
        self.conv_pw, self.bn1 = _convolution(channels, wide, 1), Norm(wide, True)
        self.conv_dw, self.bn2 = _convolution(wide, wide, kernel, stride, wide), Norm(wide, True)
        self.conv_pwl, self.bn3 = _convolution(wide, out, 1), Norm(out, False)
        self.has_skip = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        found = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))))
        return x + found if self.has_skip else found


def stem() -> nn.Sequential:
    """Images (B, 3, S, S) -> (B, 32, S / 2, S / 2)."""
    return nn.Sequential(_convolution(3, STEM, 3, 2), Norm(STEM, True))


def stages() -> nn.Sequential:
    """The first five stages, after `stem`."""
    made, channels = [nn.Sequential(DepthwiseSeparable(STEM, FIRST))], FIRST
    for kernel, stride, out, blocks in STAGES:
        sizes = [(channels, stride), *[(out, 1)] * (blocks - 1)]
        made.append(nn.Sequential(*[InvertedResidual(width, out, kernel, step) for width, step in sizes]))
        channels = out
    return nn.Sequential(*made)


def _convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return Conv2dSame(channels, out, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=False)
