"""PaDiM (Defard et al., ICPR workshops 2020): at each place, the Mahalanobis distance to good patches there.

A hundred channels drawn by a seed. They are brought to unit variance before 0.01 is added to the covariance: the
paper's number is in units of its network's features. For parts that always lie alike.
Letters: h x w patches, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.methods.good_features import GoodFeatures
from anomaly.methods.method import Found
from anomaly.methods.patchcore import SEEN

CHANNELS, EPSILON, SEED = 100, 0.01, 0


@dataclass(frozen=True)
class Places:
    """Of every place the mean (h, w, c) and inverse covariance (h, w, c, c) of the `chosen` channels over `spread`."""

    chosen: np.ndarray
    spread: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Features (h, w, C) -> (h, w) float32."""
        off = features[..., self.chosen] / self.spread - self.mean
        squares = np.einsum("hwc,hwcd,hwd->hw", off, self.inverse, off)
        return np.sqrt(np.maximum(squares, 0)).astype(np.float32)


class Padim(GoodFeatures):
    """See the module."""

    name, about = "padim", "distance to good patches at the same place"

    def learn(self, good: Sequence[np.ndarray]) -> Places:
        """See `GoodFeatures`. Raises `SteerAnomalyError` for fewer than two pictures, which have no spread."""
        if len(good) < 2 or len({one.shape for one in good}) > 1:
            raise SteerAnomalyError(f"padim needs two good pictures and more of one grid, got {len(good)}")
        channels = good[0].shape[-1]
        chosen = np.sort(np.random.default_rng(SEED).permutation(channels)[:CHANNELS])
        some = np.stack([one[..., chosen] for one in good]).astype(np.float64)  # (pictures, h, w, c)
        spread = np.maximum(some.std((0, 1, 2)), 1e-12)
        some /= spread
        mean = some.mean(0)
        off = some - mean
        covariance = np.einsum("nhwc,nhwd->hwcd", off, off, optimize=True) / (len(good) - 1)
        return Places(chosen, spread, mean, np.linalg.inv(covariance + EPSILON * np.eye(len(chosen))))

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        return Found(self.learned.distances(self.features(image)), (SEEN, SEEN))
