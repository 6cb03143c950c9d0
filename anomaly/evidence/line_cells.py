"""How much darker lines are in each cell of a picture, from responses to lines. Imports no torch.

A model's logits are one per patch, and a crack is thinner than a patch.
"""

from __future__ import annotations

import numpy as np

from steervit.nano.host_filters import CELLS as CELLS
from steervit.nano.host_filters import patch_means

LIMIT = 20.0  # of the sum of z-scores: one black line is not to outweigh everything else
ORDINARY = 4.0  # what the grain of an even surface reaches here and there: only more speaks for a defect


def line_cells(dark: np.ndarray, patch: int) -> np.ndarray:
    """Responses (3, H, W) to dark lines of three widths -> evidence per cell, (4h, 4w) float32.

    Of z-scores over the patches of `patch` pixels, a multiple of 4 that divides H and W.
    """
    cells = patch_means(dark, patch // CELLS)
    patches = patch_means(cells, CELLS)
    mean, std = patches.mean((1, 2), keepdims=True), patches.std((1, 2), keepdims=True, ddof=1)
    return (((cells - mean) / (std + 1e-4)).sum(0).clip(-LIMIT, LIMIT) - ORDINARY).astype(np.float32)
