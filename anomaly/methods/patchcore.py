"""PatchCore (Roth et al., CVPR 2022): distance to the nearest of a coreset of good patches, features averaged 3 x 3.

The image's score is weighed by how lonely the nearest good patch is among its own neighbours (equation 7).
Letters: h x w patches, M patches of the coreset, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anomaly.methods.good_features import GoodFeatures
from anomaly.methods.method import Found

SHARE, FEWEST = 0.1, 4096  # of all good patches that are kept, but as many at least where there are
NEIGHBOURS = 9  # of the nearest good patch, for the image's score
SEEN = 256  # px at which maps are smoothed


@dataclass(frozen=True)
class Bank:
    """The coreset (M, C) float32 and the squares of its lengths (M,)."""

    patches: np.ndarray
    squares: np.ndarray

    def squared(self, queries: np.ndarray) -> np.ndarray:
        """Squared distances (n, M) of queries (n, C)."""
        found = (queries**2).sum(1)[:, None] + self.squares[None] - 2 * queries @ self.patches.T
        return np.maximum(found, 0)


class PatchCore(GoodFeatures):
    """See the module."""

    name, about = "patchcore", "distance to the nearest good patch"

    def learn(self, good: Sequence[np.ndarray]) -> Bank:
        """See `GoodFeatures`."""
        from anomaly.evidence.references import coreset

        every = np.concatenate([near(one).reshape(-1, one.shape[-1]) for one in good]).astype(np.float32)
        limit = max(round(SHARE * len(every)), min(FEWEST, len(every)))
        kept = every if limit == len(every) else every[coreset(every, limit, seed=0)]
        return Bank(kept, (kept**2).sum(1))

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        patches = near(self.features(image))
        flat = patches.reshape(-1, patches.shape[-1]).astype(np.float32)
        squared = np.concatenate(
            [self.learned.squared(some) for some in np.array_split(flat, 1 + len(flat) // 256)]
        )
        distances = np.sqrt(squared.min(1))
        odd = int(distances.argmax())
        score = image_score(flat[odd], squared[odd], self.learned)
        return Found(distances.reshape(patches.shape[:2]), (SEEN, SEEN), score)


def near(features: np.ndarray) -> np.ndarray:
    """Features (h, w, C), each averaged with its eight neighbours; at the border with those that are there."""
    counts = _sums(np.ones(features.shape[:2], np.float32))
    planes = [_sums(plane) for plane in features.transpose(2, 0, 1)]
    return np.dstack(planes).reshape(features.shape) / counts[..., None]


def _sums(plane: np.ndarray) -> np.ndarray:
    whole = np.ascontiguousarray(plane)
    return cv2.boxFilter(whole, -1, (3, 3), borderType=cv2.BORDER_CONSTANT, normalize=False)


def image_score(patch: np.ndarray, squared: np.ndarray, bank: Bank) -> float:
    """The oddest patch's distance, less where the good patches around its nearest one are as far (equation 7)."""
    nearest = int(squared.argmin())
    around = np.argsort(bank.squared(bank.patches[nearest : nearest + 1])[0], kind="stable")[:NEIGHBOURS]
    distances = np.sqrt(squared[np.union1d(around, [nearest])])
    own = float(np.sqrt(squared[nearest]))
    share = float(np.exp(own - distances.max()) / np.exp(distances - distances.max()).sum())
    return (1 - share) * own if len(distances) > 1 else own
