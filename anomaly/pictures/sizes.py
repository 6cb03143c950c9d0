"""A photograph at the size at which a model sees it. Pixels only."""

from __future__ import annotations

import numpy as np
from PIL import Image


def picture_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An RGB uint8 H x W x 3 image at `size` (height, width) pixels, as tiles are cut; an array of its own."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def grey_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The same in shades of grey, 0..1, float32."""
    return picture_at(image, size).mean(2, dtype=np.float32) / 255
