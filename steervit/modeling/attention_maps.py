"""Attention heatmaps, and the suppression of sinks: single patches that soak up attention without meaning.

The rule is the official code's: a patch is a sink when it stands 5 robust deviations above its map's median
and 5 times above its neighbours. Letters: B images, h x w patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMAS = 5.0
RATIO = 5.0
MAD_TO_SIGMA = 1.4826
HEAD_POOLING = ("mean", "max", "min", "median")


def pool_heads(attention: Tensor, how: str = "mean") -> Tensor:
    """Attention of all heads (B, H, …) -> (B, …). Raises ValueError unless `how` is in `HEAD_POOLING`."""
    if how == "mean":
        return attention.mean(1)
    if how == "max":
        return attention.amax(1)
    if how == "min":
        return attention.amin(1)
    if how == "median":
        return attention.median(1).values
    raise ValueError(f"expected head_pooling to be one of {', '.join(HEAD_POOLING)}, got {how!r}")


def suppress_sinks(maps: Tensor) -> Tensor:
    """Three passes over maps (B, h, w): sinks become the global mean, the global mean, the local mean."""
    for replacement in ("global", "global", "local"):
        around = neighbour_mean(maps)
        sinks = (maps > _outlier_level(maps)) & (maps > around) & (maps > RATIO * (around + 1e-8))
        maps = torch.where(
            sinks, maps.mean((1, 2), keepdim=True) if replacement == "global" else around, maps
        )
    return maps


def _outlier_level(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    median = flat.median(1, keepdim=True).values
    deviation = (flat - median).abs().median(1, keepdim=True).values + 1e-8
    return (median + SIGMAS * MAD_TO_SIGMA * deviation)[:, :, None]


def neighbour_mean(maps: Tensor) -> Tensor:
    """Mean of the up to eight neighbours of each patch, without the patch itself: (B, h, w) -> the same."""
    kernel = maps.new_ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 0
    total = F.conv2d(maps[:, None], kernel, padding=1)
    count = F.conv2d(torch.ones_like(maps[:, None]), kernel, padding=1)
    return (total / count.clamp_min(1))[:, 0]
