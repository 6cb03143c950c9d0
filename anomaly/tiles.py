"""Overlapping tiles, so that small defects in large images meet the model at a larger size.

Tiles are laid out on the grid of patches and their logits are blended there, before any activation, so that
a softmax sees the whole image. Letters: h x w patches of one tile, T tiles, S the model's image side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from anomaly.errors import SteerAnomalyError

OVERLAP = 0.25  # of a tile's side


@dataclass(frozen=True)
class Tiling:
    """`rows` x `columns` tiles of `grid` (h, w) patches each, neighbours sharing a quarter of their side."""

    rows: int
    columns: int
    grid: tuple[int, int]

    @property
    def strides(self) -> tuple[int, int]:
        """Patches from one tile to the next, down and right."""
        h, w = self.grid
        return max(1, round(h * (1 - OVERLAP))), max(1, round(w * (1 - OVERLAP)))

    @property
    def canvas(self) -> tuple[int, int]:
        """Patches that all tiles cover together, down and right."""
        (h, w), (down, right) = self.grid, self.strides
        return h + down * (self.rows - 1), w + right * (self.columns - 1)

    def corners(self) -> list[tuple[int, int]]:
        """Upper left patch (y, x) of every tile, row by row."""
        down, right = self.strides
        return [(r * down, c * right) for r in range(self.rows) for c in range(self.columns)]

    def cut(self, image: np.ndarray, side: tuple[int, int]) -> np.ndarray:
        """Cut an RGB uint8 H x W x 3 image into tiles squashed to `side` (S, S) px: uint8 (T, S, S, 3)."""
        height, width = image.shape[:2]
        (rows, columns), (h, w) = self.canvas, self.grid
        picture = Image.fromarray(image)
        tiles = []
        for y, x in self.corners():
            box = (x / columns * width, y / rows * height, (x + w) / columns * width, (y + h) / rows * height)
            box = (box[0], box[1], min(box[2], width), min(box[3], height))
            tiles.append(np.asarray(picture.resize(side[::-1], Image.Resampling.BICUBIC, box=box)))
        return np.stack(tiles)

    def blend(self, tiles: np.ndarray) -> np.ndarray:
        """Logits of the tiles (T, P, h, w) -> of the whole image (P, rows, columns) in patches.

        Weights fall towards a tile's rim, so no seam shows; a pixel that one tile covers keeps its value.
        """
        if len(tiles) == 1:
            return tiles[0]
        total = np.zeros((tiles.shape[1], *self.canvas), np.float32)
        weights = np.zeros(self.canvas, np.float32)
        (h, w), window = self.grid, np.outer(_ramp(self.grid[0]), _ramp(self.grid[1]))
        for tile, (y, x) in zip(tiles, self.corners(), strict=True):
            total[:, y : y + h, x : x + w] += tile * window
            weights[y : y + h, x : x + w] += window
        return total / weights


def _ramp(length: int) -> np.ndarray:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.minimum(distance / max(1.0, length * OVERLAP), 1).astype(np.float32)


def parse_tiles(text: str) -> tuple[int, int]:
    """`3` or `2x3` (rows x columns) -> (rows, columns), each 1 to 16. Raises `SteerAnomalyError`."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text.strip().lower())
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(1 <= side <= 16 for side in sides):
        raise SteerAnomalyError(
            f"expected tiles as a number from 1 to 16, or ROWSxCOLUMNS such as 2x3; got {text!r}"
        )
    return sides


def parse_scales(text: str) -> tuple[tuple[int, int], ...]:
    """`1,2,3x2` -> one (rows, columns) per scale; their heatmaps are averaged. Raises `SteerAnomalyError`."""
    return tuple(parse_tiles(part) for part in text.split(","))
