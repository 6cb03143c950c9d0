"""Small pictures for the report of a run whose images were compared: what each piece of evidence says, and the place
where the heatmap is highest beside the likest place of the most similar image.

Knows nothing of models, journals or pages.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from anomaly.comparison import TEXT
from anomaly.inspection import Inspection
from anomaly.pictures.encode import to_jpeg
from anomaly.pictures.overlay import ColorScale, draw_overlay
from anomaly.runs.saving import save

TILE, GAP = 150, 4  # px
WINDOW = 0.22  # of the shorter side: what is shown around a place


def save_parts(out: Path, name: str, image: np.ndarray, inspection: Inspection, scale: ColorScale) -> None:
    """Write the parts of a sum side by side without gaps, in the same colours; nothing for an image judged alone."""
    if TEXT not in inspection.parts:
        return
    size, half = (image.shape[1], image.shape[0]), _half(scale)
    drawn = [
        draw_overlay(image, cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), half, max_side=TILE)
        for part in inspection.parts.values()
    ]
    save(out / f"previews/parts/{name}.jpg", to_jpeg(np.hstack(drawn), 80))


def said_at_highest(inspection: Inspection) -> dict[str, float]:
    """How much each part of a sum says where the heatmap is highest; nothing for an image judged alone."""
    if TEXT not in inspection.parts:
        return {}
    y, x = np.unravel_index(inspection.heatmap.argmax(), inspection.heatmap.shape)
    down, across = ((at + 0.5) / n for at, n in zip((y, x), inspection.heatmap.shape, strict=True))
    return {
        name: round(float(one[int(down * one.shape[0]), int(across * one.shape[1])]), 3)
        for name, one in inspection.parts.items()
    }


def save_likest(
    out: Path, name: str, image: np.ndarray, inspection: Inspection, other: np.ndarray, grid: tuple[int, int]
) -> None:
    """Write the surroundings of the highest place beside those of patch `likest_patch` of the `grid` of `other`."""
    assert inspection.likest_patch is not None
    y, x = np.unravel_index(inspection.heatmap.argmax(), inspection.heatmap.shape)
    row, column = divmod(inspection.likest_patch, grid[1])
    there = (row + 0.5) / grid[0] * other.shape[0], (column + 0.5) / grid[1] * other.shape[1]
    pair = [_around(image, (float(y), float(x))), _around(other, there)]
    save(out / f"previews/likest/{name}.jpg", to_jpeg(_beside(pair), 85))


def _half(scale: ColorScale) -> ColorScale:
    """The scale of a part: half of the sum's, so that one of two that agree is seen as well as both."""
    low = scale.low / 2
    return ColorScale(low, low + (scale.threshold - scale.low) / 2, low + (scale.high - scale.low) / 2)


def _around(image: np.ndarray, at: tuple[float, float]) -> np.ndarray:
    """A square window of the image, moved inside where it would reach over an edge, `TILE` px."""
    side = max(8, round(WINDOW * min(image.shape[:2])))
    side = min(side, *image.shape[:2])
    top, left = (
        int(np.clip(round(c - side / 2), 0, n - side)) for c, n in zip(at, image.shape, strict=False)
    )
    window = image[top : top + side, left : left + side]
    return cv2.resize(window, (TILE, TILE), interpolation=cv2.INTER_AREA if side > TILE else cv2.INTER_CUBIC)


def _beside(tiles: list[np.ndarray]) -> np.ndarray:
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    pieces = [piece for tile in tiles for piece in (gap, tile)][1:]
    return np.hstack(pieces)
