"""A scale for whole maps: along a picture's border good patches look odder, so there it takes more to be odd.

Networks see nothing beyond the border, and rims of parts and vignettes lie there. Knows nothing of where scores come
from. Letters: h x w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.evidence.mutual_scale import RobustScale, robust_scale

RINGS = 2  # along the border that are measured by themselves
ACROSS = 32  # rings' widths in a map's height and width: one patch of 32 x 32


@dataclass(frozen=True)
class BorderedScale:
    """`inner` for all of a map but its `rings`, the outermost first."""

    inner: RobustScale
    rings: tuple[RobustScale, ...] = ()

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
        found, number = self.inner(scores), ring_of(scores.shape)
        for ring, scale in enumerate(self.rings):
            at = number == ring
            found[at] = scale(scores[at])
        return found

    def to_array(self) -> np.ndarray:
        """Centres and widths, (1 + rings, 2) float64; `of_array` takes it back."""
        return np.array([[one.centre, one.width] for one in (self.inner, *self.rings)])

    @classmethod
    def of_array(cls, values: np.ndarray) -> BorderedScale:
        """The inverse of `to_array`. Raises `ValueError` for another shape."""
        if values.ndim != 2 or values.shape[1] != 2 or not len(values):
            raise ValueError(f"a scale of {values.shape} values")
        inner, *rings = (RobustScale(float(centre), float(width)) for centre, width in values)
        return cls(inner, tuple(rings))


def bordered_scale(maps: Sequence[np.ndarray]) -> BorderedScale:
    """The scale of maps (h, w) of good pictures. A ring's is that of all patches, or where greater the ring's own.

    Raises as `robust_scale`.
    """
    inner = robust_scale(maps)
    rings = []
    for ring in range(RINGS):
        there = [one[ring_of(one.shape) == ring] for one in maps]
        if not sum(one.size for one in there):
            break
        own = robust_scale(there)
        rings.append(RobustScale(max(own.centre, inner.centre), max(own.width, inner.width)))
    return BorderedScale(inner, tuple(rings))


def ring_of(shape: tuple[int, ...]) -> np.ndarray:
    """How many rings from the border each place of a map (h, w) lies, int (h, w)."""
    ways = [(np.minimum(np.arange(n), n - 1 - np.arange(n)) * ACROSS) // n for n in shape]
    return np.minimum(ways[0][:, None], ways[1][None])
