"""Distances between all pictures of a set, each pair compared once, so that any of them can be left out for nothing.

Knows descriptions only. Letters: h x w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.border_scale import BorderedScale, bordered_scale
from anomaly.evidence.descriptions import Description
from anomaly.evidence.references import MemoryBank, References


class Pairs:
    """Of each picture's patches the distance to the nearest patch of each other picture, computed when asked for."""

    def __init__(self, descriptions: Sequence[Description]) -> None:
        self.descriptions = list(descriptions)
        self.number = {one.content: number for number, one in enumerate(descriptions)}
        self._banks = [MemoryBank([one], limit=len(one.rows())) for one in descriptions]
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def distances(self, picture: int, other: int) -> np.ndarray:
        """Of the patches of one picture to another's, (h, w) float32."""
        key = (picture, other)
        if key not in self._known:
            self._known[key] = self._banks[other].distances(self.descriptions[picture].patches)
        return self._known[key]

    def nearest(self, picture: int, others: Sequence[int]) -> np.ndarray:
        """To the nearest patch of all the others, (h, w)."""
        return np.minimum.reduce([self.distances(picture, other) for other in others])

    def references(self, places: Sequence[int]) -> PairReferences | References:
        """The pictures at these places as references, as a `References` of whole pictures would be."""
        if not places:
            raise SteerAnomalyError(
                "expected other pictures to compare with, got none; give more good pictures"
            )
        if len(places) == 1:
            return References([self.descriptions[places[0]]])
        left_out = [self.nearest(one, [other for other in places if other != one]) for one in places]
        return PairReferences(self, tuple(places), bordered_scale(left_out))


@dataclass(frozen=True, eq=False)
class PairReferences:
    """Pictures of a set as references for another picture of the set. See `anomaly.comparison.Known`."""

    pairs: Pairs
    places: tuple[int, ...]
    scale: BorderedScale

    def oddness(self, picture: Description) -> np.ndarray:
        """How unlike the references each patch is, (h, w) float32, robust z-scores."""
        return self.scale(self.pairs.nearest(self.pairs.number[picture.content], self.places))

    def distance(self, oddness: np.ndarray) -> float:
        """See `References.distance`."""
        return float(np.median(oddness)) * self.scale.width + self.scale.centre
