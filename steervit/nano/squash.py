"""How nano's eyes get their image: squashed to a square. Apart from the network, for whoever runs it as a graph."""

from __future__ import annotations

import cv2
import numpy as np

SIZE = 256  # pixels a side of the image that is looked at: more costs time and gains nothing on average
GRID_STRIDE = 8  # pixels between the patches of all stages in the end


def squashed(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """An RGB uint8 H x W x 3 image -> the same, `size` x `size` pixels."""
    shrinks = image.shape[0] * image.shape[1] > size * size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
