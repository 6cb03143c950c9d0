"""How unlike the rest of its own image each patch is: no training, no text, any trunk.

It complements what a model was taught: a defect need not look like any defect ever seen, only unlike its
surroundings. Letters: B images or tiles, N patches, D channels of a patch's description.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomaly.evidence.protocol import Seen
from anomaly.evidence.whitening import whitened
from steervit.nano.filters import nearest_distance, standard_scores


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
    white = whitened(tokens.float().cpu().numpy())
    return unlikeness_of_white(torch.from_numpy(white)).to(tokens.device)


def unlikeness_of_white(white: Tensor) -> Tensor:
    """As `unlikeness`, of descriptions from `whitened`, (B, N, 32) -> (B, N)."""
    lengths = white.square().mean(-1).sqrt()
    return standard_scores(torch.stack([lengths, nearest_distance(white)[..., 0]], -1))
