"""WinCLIP, zero-shot (Jeong et al., CVPR 2023, section 4): windows of patches against states of the part.

Windows of 2 x 2 and 3 x 3 patches, each alone through the encoder; a patch's score is the harmonic mean of its
windows'; the two maps and the whole picture's score are averaged harmonically. The picture scores as a whole.
Letters: h x w patches, W windows of k patches, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly import prompts as prompt_sets
from anomaly.errors import SteerAnomalyError
from anomaly.methods.backbones import CONTRASTIVE, open_contrastive, squashed
from anomaly.methods.method import Asked, Found
from anomaly.methods.read_text import ReadText
from anomaly.methods.text_scores import scores

if TYPE_CHECKING:
    pass

SCALES = (2, 3)  # patches of a window's side


class WinClip(ReadText):
    """See the module. Needs prompts with contrast, such as the set compositional-contrast."""

    name, about = "winclip", "windows of CLIP's patches against states of the part"
    prompt_set = "compositional-contrast"
    backbone: Any

    def __init__(self, asked: Asked) -> None:
        if not asked.prompts.contrast:
            raise SteerAnomalyError(
                f"winclip compares damaged with flawless states, and the prompt set {asked.prompts.name} has no "
                "contrast: --prompts compositional-contrast"
            )
        super().__init__(asked, open_contrastive(asked, CONTRASTIVE))

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        import torch

        with torch.inference_mode():
            wanted, contrast = self._directions(prompt_sets.object_name(object))
            images = squashed(self.backbone, image)
            scale = self.backbone.scale
            whole = float(scores(self.backbone.see(images)[1], wanted, contrast, scale)[0])
            maps = [np.full(self.backbone.grid_size, whole)]
            for side in SCALES:
                places = windows(self.backbone.grid_size, side)
                vectors = self.backbone.windows(images, torch.from_numpy(places))[0]
                found = scores(vectors, wanted, contrast, scale).float().cpu().numpy()
                maps.append(spread(found, places, self.backbone.grid_size))
        together = len(maps) / np.sum([1 / np.maximum(one, 1e-12) for one in maps], 0)
        return Found(together.astype(np.float32), self.backbone.image_size, whole)


def windows(grid: tuple[int, int], side: int) -> np.ndarray:
    """The patches, row by row, of every square window of `side` patches in a grid: (W, side * side) int64.

    A grid smaller than that is one window.
    """
    rows, columns = min(side, grid[0]), min(side, grid[1])
    numbers = np.arange(grid[0] * grid[1]).reshape(grid)
    cut = np.lib.stride_tricks.sliding_window_view(numbers, (rows, columns))
    return cut.reshape(-1, rows * columns).copy()


def spread(found: np.ndarray, places: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Scores of windows (W,) over patches `places` (W, k) -> each patch's harmonic mean over its windows, (h, w)."""
    count, inverse = np.zeros(grid[0] * grid[1]), np.zeros(grid[0] * grid[1])
    np.add.at(count, places, 1)
    np.add.at(inverse, places, 1 / np.maximum(found[:, None], 1e-12))
    return (count / inverse).reshape(grid)
