"""How unlike the rest of its own image each patch is: no training, no text, any trunk.

It complements what a model was taught: a defect need not look like any defect ever seen, only unlike its
surroundings. Letters: B images or tiles, N patches, D channels of a patch's description.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomaly.evidence.protocol import Seen
from steervit.nano.filters import nearest_distance, standard_scores

DIRECTIONS = 32  # of a description that are kept: those in which the patches of the image differ most
SMALLEST = 1e-4  # of the largest difference: a direction in which less differs has no scale of its own


def self_similarity(seen: Seen) -> np.ndarray:
    """Evidence (h, w): the sum of two z-scores over the patches of each tile.

    nano's filters were made for the question; other trunks are asked before text has touched their tokens.
    """
    described = seen.found.described
    scores = unlikeness(seen.found.tokens) if described is None else standard_scores(described.oddness)
    maps = scores.unflatten(-1, seen.tiling.grid)[:, None]
    return seen.tiling.blend(maps.float().cpu().numpy())[0]


def unlikeness(tokens: Tensor) -> Tensor:
    """Descriptions (B, N, D) of an image's patches -> (B, N), higher where a patch is odder in its image.

    The sum of two z-scores over the patches: Mahalanobis length, and distance to the few nearest others.
    """
    white = _whitened(tokens.float() - tokens.float().mean(1, keepdim=True))
    lengths = white.square().mean(-1).sqrt()
    return standard_scores(torch.stack([lengths, nearest_distance(white)[..., 0]], -1))


def _whitened(centred: Tensor) -> Tensor:
    # (B, N, D) -> (B, N, 32): principal components of unit variance. Those of the smaller of the two products.
    exact = centred.double()
    if centred.shape[1] < centred.shape[2]:
        values, vectors = torch.linalg.eigh(exact @ exact.transpose(1, 2))
        left, strength = (
            vectors.flip(-1)[..., :DIRECTIONS],
            values.flip(-1).clamp_min(0).sqrt()[:, None, :DIRECTIONS],
        )
    else:
        values, vectors = torch.linalg.eigh(exact.transpose(1, 2) @ exact)
        strength = values.flip(-1).clamp_min(0).sqrt()[:, None, :DIRECTIONS]
        left = exact @ vectors.flip(-1)[..., :DIRECTIONS] / strength.clamp_min(1e-30)
    real = strength > SMALLEST * strength[..., :1]
    return torch.where(real, left, 0).float() * centred.shape[1] ** 0.5
