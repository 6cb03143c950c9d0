"""Convolutions of inference on a CPU with their batch norm folded in and what follows joined to them, by oneDNN.

Only where `onednn.speaks_onednn`. Letters: B images, C channels, K pixels of a kernel's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after a side of an image, padded as TensorFlow does: the odd one after."""
    missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return missing // 2, missing - missing // 2


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution and its batch norm in one, clipped to 0..6 or not. `same` pads as TensorFlow does."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int
    same: bool
    clipped: bool

    @classmethod
    def of(cls, convolution: Any, norm: Any) -> FoldedConvolution:
        """From a convolution without a bias and the batch norm after it (timm's, whose activation is ReLU6 or none).

        Raises ValueError for other activations.
        """
        activation = getattr(norm, "act", nn.Identity())
        if not isinstance(activation, nn.ReLU6 | nn.Identity) or convolution.bias is not None:
            raise ValueError(
                f"expected a convolution without a bias, then ReLU6 or nothing, got {activation}"
            )
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = (convolution.weight * scale[:, None, None, None]).contiguous(
            memory_format=torch.channels_last
        )
        same = type(convolution).__name__ == "Conv2dSame"
        return cls(
            weight,
            norm.bias - norm.running_mean * scale,
            convolution.stride,
            (0, 0) if same else convolution.padding,
            convolution.groups,
            same,
            isinstance(activation, nn.ReLU6),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W), best with channels innermost -> (B, C', H', W')."""
        if self.same:
            kernel, stride = self.weight.shape[-1], self.stride[0]
            (top, bottom), (left, right) = (same_padding(side, kernel, stride) for side in x.shape[2:])
            x = F.pad(x, (left, right, top, bottom))
        then, limits = ("hardtanh", [0.0, 6.0]) if self.clipped else ("none", [])
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, self.padding, self.stride, (1, 1), self.groups, then, limits, ""
        )


@dataclass(frozen=True)
class FoldedBlock:
    """Convolutions one after the other, what entered them added at the end or not."""

    convolutions: Sequence[FoldedConvolution]
    residual: bool

    @classmethod
    def of(cls, block: Any) -> FoldedBlock:
        """From one of timm's blocks of EfficientNet-Lite: depthwise-separable, or inverted residual."""
        names = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        if not hasattr(block, "conv_pwl"):
            names = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        layers = [FoldedConvolution.of(getattr(block, one), getattr(block, norm)) for one, norm in names]
        return cls(layers, block.has_skip)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        entered = x
        for convolution in self.convolutions:
            x = convolution(x)
        return x.add_(entered) if self.residual else x
