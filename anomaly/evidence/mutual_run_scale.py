"""Descriptions of a run's images brought to one scale. Needs no torch. Letters: L patches, C channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.mutual_store import Moments

STEADY = 1e-4  # of the largest deviation: a channel that varies less over the run has no scale of its own


@dataclass(frozen=True)
class RunScale:
    """How descriptions are brought to one scale over a run: (x - mean) * factor, a pair (C,) for each layer.

    `spread`: root mean square distance of two patches drawn at random from the run after that, by layer.
    """

    mean: list[np.ndarray]
    factor: list[np.ndarray]
    spread: list[float]

    @classmethod
    def of(cls, moments: Iterable[Sequence[Moments]], standardise: bool) -> RunScale:
        """From the moments of each image's layers, one image after the other. Every image counts alike.

        Raises `SteerAnomalyError` where images differ in layers, and without any.
        """
        sums: list[np.ndarray] = []
        kinds, count = set(), 0
        for layers in moments:
            pairs = [np.stack([layer.mean, layer.square]) for layer in layers]
            kinds.add(tuple(pair.shape[1] for pair in pairs))
            if len(kinds) > 1:
                break
            sums = [one + pair for one, pair in zip(sums, pairs, strict=True)] if sums else pairs
            count += 1
        if len(kinds) != 1:
            raise SteerAnomalyError(
                f"expected all images to have layers of the same channels, got {sorted(kinds)}"
            )
        return cls(*map(list, zip(*(_scaled(one / count, standardise) for one in sums), strict=True)))

    def __call__(self, layers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The layers (L, C) of one image -> float32, on the scale of the run."""
        return [
            (layer.astype(np.float32) - mean) * factor
            for layer, mean, factor in zip(layers, self.mean, self.factor, strict=True)
        ]


def _scaled(moments: np.ndarray, standardise: bool) -> tuple[np.ndarray, np.ndarray, float]:
    # Mean and mean square over the run, (2, C) -> mean, factor and spread.
    mean, square = moments
    deviation = np.sqrt(np.maximum(square - np.square(mean), 0))
    factor = np.ones_like(deviation)
    if standardise:
        varies = deviation > STEADY * deviation.max()
        factor = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    spread = float(np.sqrt(2 * np.square(deviation * factor).sum()))
    # Where every patch is alike all distances are zero, in any unit.
    return mean.astype(np.float32), factor.astype(np.float32), spread or 1.0
