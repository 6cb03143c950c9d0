"""A scale for whole maps: along a picture's border good patches look odder, so there it takes more to be odd.

Networks see nothing beyond the border, and rims of parts and vignettes lie there. Knows nothing of where scores come
from. Letters: h x w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anomaly.evidence.mutual_scale import RobustScale, robust_scale

RINGS = 4  # along the border that are measured by themselves
CORNER = 4  # rings deep in both directions: the corners, which are measured together
INNER = RINGS + 1  # what lies within
ACROSS = 32  # rings' widths in a map's height and width: one patch of 32 x 32


@dataclass(frozen=True)
class BorderedScale:
    """`inner` for all of a map but its `zones`: the rings, the outermost first, and the corners."""

    inner: RobustScale
    zones: tuple[RobustScale, ...] = ()

    @property
    def centre(self) -> float:
        """Of what is not at the border."""
        return self.inner.centre

    @property
    def width(self) -> float:
        """Of what is not at the border."""
        return self.inner.width

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """A map (h, w) of scores -> float32, 0 at the typical patch, 1 for each width above it."""
        found, number = self.inner(scores), zone_of(scores.shape)
        for zone, scale in enumerate(self.zones):
            at = number == zone
            found[at] = scale(scores[at])
        return found

    def to_array(self) -> np.ndarray:
        """Centres and widths, (1 + zones, 2) float64; `of_array` takes it back."""
        return np.array([[one.centre, one.width] for one in (self.inner, *self.zones)])

    @classmethod
    def of_array(cls, values: np.ndarray) -> BorderedScale:
        """The inverse of `to_array`. Raises `ValueError` for another shape."""
        if values.ndim != 2 or values.shape[1] != 2 or not len(values):
            raise ValueError(f"a scale of {values.shape} values")
        inner, *zones = (RobustScale(float(centre), float(width)) for centre, width in values)
        return cls(inner, tuple(zones))


def bordered_scale(maps: Sequence[np.ndarray]) -> BorderedScale:
    """The scale of maps (h, w) of good pictures, or of a run. A zone's is its own where that is greater.

    Raises as `robust_scale`.
    """
    inner = robust_scale(maps)
    zones = []
    for zone in range(INNER):
        there = [one[zone_of(one.shape) == zone] for one in maps]
        own = robust_scale(there) if sum(one.size for one in there) else inner
        zones.append(RobustScale(max(own.centre, inner.centre), max(own.width, inner.width)))
    return BorderedScale(inner, tuple(zones))


@lru_cache(64)
def zone_of(shape: tuple[int, ...]) -> np.ndarray:
    """Which zone each place of a map (h, w) belongs to, int (h, w): rings from 0 at the border, corners, `INNER`."""
    ways = [(np.minimum(np.arange(n), n - 1 - np.arange(n)) * ACROSS) // n for n in shape]
    rows, columns = np.broadcast_arrays(ways[0][:, None], ways[1][None])
    rings = np.minimum(rows, columns)
    zones = np.where(rings < RINGS, rings, INNER)
    return np.where(np.maximum(rows, columns) < CORNER, RINGS, zones)
