"""How unlike the rest of its own image each patch is: no training, no text, any trunk.

It complements what a model was taught: a defect need not look like any defect ever seen, only unlike its
surroundings. Letters: B images, N patches, D channels of a patch's description.
"""

from __future__ import annotations

import torch
from torch import Tensor

from steervit.nano.filters import nearest_distance

DIRECTIONS = 32  # of a description that are kept: those in which the patches of the image differ most


def unlikeness(tokens: Tensor) -> Tensor:
    """Descriptions (B, N, D) of an image's patches -> (B, N), higher where a patch is odder in its image.

    The sum of two z-scores over the patches: Mahalanobis length, and distance to the few nearest others.
    """
    centred = tokens.float() - tokens.float().mean(1, keepdim=True)
    left, strength, _ = torch.linalg.svd(centred, full_matrices=False)
    kept = min(DIRECTIONS, left.shape[-1])
    # A direction in which nothing differs has no scale of its own.
    real = strength[:, None, :kept] > 1e-4 * strength[:, None, :1]
    white = left[..., :kept] * real * tokens.shape[1] ** 0.5
    lengths = white.square().mean(-1).sqrt()
    return standard_scores(torch.stack([lengths, nearest_distance(white)[..., 0]], -1))


def standard_scores(measures: Tensor) -> Tensor:
    """Measures (..., N, K) -> the sum over K of their z-scores over the N patches, (..., N)."""
    centred = measures.float() - measures.float().mean(-2, keepdim=True)
    return (centred / (measures.float().std(-2, keepdim=True) + 1e-6)).sum(-1)
