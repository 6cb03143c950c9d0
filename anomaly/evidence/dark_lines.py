"""Dark lines: cracks, cuts and gaps hold shadow, whatever the part; no training, no text, any model.

A model's logits are one per patch, and a crack is thinner than a patch. This evidence is given for each of
4 x 4 cells of a patch, so that it also says where in the patch the line runs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from anomaly.evidence.line_cells import CELLS, LIMIT, ORDINARY, line_cells
from anomaly.evidence.protocol import Seen
from anomaly.pictures.sizes import grey_at
from steervit.nano.ridges import LINES, ridges


def dark_lines(seen: Seen) -> np.ndarray:
    """Evidence (4h, 4w): `line_scores` at the size at which the model saw the picture, or all of its tiles."""
    rows, columns = seen.tiling.canvas
    fine = (CELLS * rows, CELLS * columns)
    if seen.whole and seen.found.described is not None:  # the model has looked for lines at that size already
        dark = seen.found.described.lines[0, : len(LINES)].cpu().numpy()
        return line_cells(dark, seen.size_hw[0] // rows)
    return line_scores(seen.image, seen.size_hw, fine)


def line_scores(image: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """An RGB uint8 H x W x 3 image, seen at `size` (height, width) pixels -> evidence per cell of `grid`, float32.

    The sum over three widths of line of z-scores, less 4, so from -24 to 16: how much darker a line there is than
    its surroundings, in standard deviations of that response over the patches (4 x 4 cells) of this image.
    """
    seen = torch.from_numpy(grey_at(image, size))[None, None]
    return grey_scores(seen, size, grid)[0].numpy()


def grey_scores(grey: torch.Tensor, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Grey images (B, 1, H, W) in 0..1 of `size` -> evidence per cell of `grid`, (B, 4h, 4w)."""
    grey = F.pad(grey, (0, -size[1] % 4, 0, -size[0] % 4), mode="replicate")
    return cell_scores(ridges(grey)[:, : len(LINES), : size[0], : size[1]], grid)


def cell_scores(dark: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Responses (B, 3, H, W) to dark lines of three widths -> evidence per cell, (B, 4h, 4w)."""
    cells = F.adaptive_avg_pool2d(dark, grid)
    patches = F.adaptive_avg_pool2d(dark, (grid[0] // CELLS, grid[1] // CELLS))
    mean, std = patches.mean((2, 3), keepdim=True), patches.std((2, 3), keepdim=True)
    return ((cells - mean) / (std + 1e-4)).sum(1).clamp(-LIMIT, LIMIT) - ORDINARY
