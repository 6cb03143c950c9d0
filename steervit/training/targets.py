"""Targets and losses of referring segmentation on patches (paper, section 3; PROTOCOL section 3).

Letters: B samples, h x w patches, S image side in pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_fractions(masks: Tensor, patch: int) -> Tensor:
    """Masks (B, S, S), 0 or 1 -> the covered fraction of every patch, (B, h*w), 0..1, row by row."""
    return F.avg_pool2d(masks.float()[:, None], patch).flatten(1)


def segmentation_loss(logits: Tensor, fractions: Tensor) -> Tensor:
    """Softmax cross-entropy over patches, -sum(t log softmax(logits)), mean over samples.

    `fractions` (B, h*w) are normalised to sum to one; an empty mask contributes 0.
    """
    total = fractions.sum(-1, keepdim=True)
    targets = fractions / total.clamp_min(1e-12)
    return -(targets * F.log_softmax(logits.float(), -1)).sum(-1).mean()


def presence_loss(logits: Tensor, fractions: Tensor, full: float = 0.25, weight: float = 3.0) -> Tensor:
    """Binary cross-entropy per patch, our addition: it gives sigmoid(logit) a meaning on good images too.

    A patch counts as fully positive from a covered fraction of `full`; positives weigh `weight` times.
    """
    targets = (fractions / full).clamp_max(1.0)
    return F.binary_cross_entropy_with_logits(
        logits.float(), targets, pos_weight=torch.tensor(weight, device=logits.device)
    )


def kinds_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy of logits (B, n, K) for the kind of each patch, kinds (B, n) in -1..K-1; -1 has no say.

    The mean over patches with a kind; 0 where there is none.
    """
    known = (kinds >= 0).sum().clamp_min(1)
    return (
        F.cross_entropy(logits.float().flatten(0, 1), kinds.flatten(), ignore_index=-1, reduction="sum")
        / known
    )


def pmass(logits: Tensor, fractions: Tensor) -> Tensor:
    """Softmax mass on patches whose target is above 0, per sample (B,); NaN where the mask is empty."""
    mass = (logits.float().softmax(-1) * (fractions > 0)).sum(-1)
    return torch.where(fractions.sum(-1) > 0, mass, torch.nan)
