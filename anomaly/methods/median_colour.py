"""How far each pixel's colour is from the picture's median colour: four lines that a detector has to be better than."""

from __future__ import annotations

import numpy as np

from anomaly.methods.method import Found
from anomaly.methods.zero_shot import Weightless


class MedianColour(Weightless):
    """See the module; reads neither text nor weights."""

    name, about = "median-colour", "distance of each pixel from the picture's median colour"
    smooth, peak = 2.0, True

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        pixels = image.astype(np.float32)
        middle = np.median(pixels, axis=(0, 1))
        return Found(np.sqrt(((pixels - middle) ** 2).sum(axis=2)), image.shape[:2])
