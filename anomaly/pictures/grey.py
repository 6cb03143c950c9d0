"""A photograph in shades of grey at another size. Pixels only."""

from __future__ import annotations

import numpy as np
from PIL import Image


def grey_at(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An RGB uint8 H x W x 3 image -> grey in 0..1 at `size` (height, width) pixels, float32."""
    seen = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(seen).mean(2, dtype=np.float32) / 255
