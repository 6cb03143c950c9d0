"""Dark lines: cracks, cuts and gaps hold shadow, whatever the part; no training, no text, any model.

A model's logits are one per patch, and a crack is thinner than a patch. This evidence is given for each of
4 x 4 cells of a patch, so that it also says where in the patch the line runs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from anomaly.evidence.protocol import Seen
from steervit.nano.ridges import LINES, ridges

CELLS = 4  # along each side of a patch
LIMIT = 20.0  # of the sum of z-scores: one black line is not to outweigh everything else
ORDINARY = 4.0  # what the grain of an even surface reaches here and there: only more speaks for a defect


def dark_lines(seen: Seen) -> np.ndarray:
    """Evidence (4h, 4w): `line_scores` at the size at which the model saw the picture, or all of its tiles."""
    rows, columns = seen.tiling.canvas
    fine = (CELLS * rows, CELLS * columns)
    if seen.whole and seen.found.described is not None:  # the model has looked for lines at that size already
        return _scores(seen.found.described.lines[:, : len(LINES)].cpu(), fine)
    return line_scores(seen.image, seen.size_hw, fine)


def line_scores(image: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """An RGB uint8 H x W x 3 image, seen at `size` (height, width) pixels -> evidence per cell of `grid`, float32.

    The sum over three widths of line of z-scores, less 4, so from -24 to 16: how much darker a line there is than
    its surroundings, in standard deviations of that response over the patches (4 x 4 cells) of this image.
    """
    seen = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    grey = torch.from_numpy(np.asarray(seen).mean(2, dtype=np.float32) / 255)[None, None]
    grey = F.pad(grey, (0, -size[1] % 4, 0, -size[0] % 4), mode="replicate")
    return _scores(ridges(grey)[:, : len(LINES), : size[0], : size[1]], grid)


def _scores(dark: torch.Tensor, grid: tuple[int, int]) -> np.ndarray:
    # Responses (1, 3, H, W) to dark lines of three widths -> evidence per cell.
    cells = F.adaptive_avg_pool2d(dark, grid)
    patches = F.adaptive_avg_pool2d(dark, (grid[0] // CELLS, grid[1] // CELLS))
    mean, std = patches.mean((2, 3), keepdim=True), patches.std((2, 3), keepdim=True)
    return (((cells - mean) / (std + 1e-4)).sum(1)[0].clamp(-LIMIT, LIMIT) - ORDINARY).numpy()
