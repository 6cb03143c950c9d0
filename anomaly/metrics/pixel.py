"""Pixel AUROC, AP, F1-max and PRO of a whole test set in one pass, constant memory, mergeable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.metrics.arguments import checked_limits, checked_map, checked_mask
from anomaly.metrics.codes import encode
from anomaly.metrics.components import UNIT_BITS, defect_pixels
from anomaly.metrics.curves import Counts
from anomaly.metrics.figures import figures
from anomaly.metrics.histogram import BUDGET, CodeHistogram, summed
from anomaly.metrics.result import MetricResult

CHUNK = 1 << 16
STATE_VERSION = 1


class PixelMetrics:
    """Feed it every test image of a category, good ones included, in any order; then `compute`.

    Exact while the maps hold at most `budget` distinct float32 scores; beyond, scores are grouped as finely
    as fits and `error_bound` of the result says what that can cost. PRO is integrated up to each of the
    false-positive rates `limits`; the first is called `pro`, another `pro@0.05`. `resolution` is kept with
    the figures: say at which size the maps are compared with the masks.
    """

    def __init__(
        self, limits: Sequence[float] = (0.3,), *, resolution: str = "as given", budget: int = BUDGET
    ) -> None:
        self.limits = checked_limits(limits)
        self.resolution = resolution
        self._all = CodeHistogram(budget)
        self._defects = _DefectHistogram()
        self._tally = {"images": 0, "defective_images": 0, "regions": 0}

    def update(self, score_map: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Count one image. `score_map` H x W, any real dtype, compared as float32; higher is more anomalous.

        `mask` H x W, bool or integer, defective where not 0; None for a good image. Infinite scores are
        ordered like any other. Raises SteerAnomalyError, with nothing counted, on NaN, on a wrong shape or
        on a mask of floats.
        """
        scores = checked_map(score_map)
        defective = checked_mask(mask, scores.shape)
        defects = None if defective is None else defect_pixels(scores, defective, self._all.shift)
        flat = scores.reshape(-1)
        shift = self._all.shift
        for first in range(0, flat.size, CHUNK):
            self._all.add(encode(flat[first : first + CHUNK]))
        self._tally["images"] += 1
        if defects is not None:
            self._tally["defective_images"] += 1
            self._tally["regions"] += defects.regions
            self._defects.add(defects.keys, defects.counts, defects.weights, shift)

    def merge(self, other: PixelMetrics) -> None:
        """Add what `other` counted, from another batch or process. Any order gives the same bits."""
        self._all.merge(other._all)
        self._defects.merge(other._defects)
        for name, count in other._tally.items():
            self._tally[name] += count

    def counts(self) -> Counts:
        """The three histograms, highest score first."""
        keys, total = self._all.settle()
        shift = self._all.shift
        defect_keys, defect_counts, weights = self._defects.settle(shift)
        place = keys.size - 1 - np.searchsorted(keys, defect_keys)
        positives, spread = np.zeros(keys.size, np.int64), np.zeros(keys.size, np.int64)
        positives[place], spread[place] = defect_counts, weights
        return Counts(
            keys=keys[::-1],
            shift=shift,
            negatives=total[::-1] - positives,
            positives=positives,
            weights=spread,
            weight_total=self._tally["regions"] << UNIT_BITS,
        )

    def compute(self, limits: Sequence[float] | None = None) -> MetricResult:
        """Figures so far; counting can go on. `limits` replaces those given at the start."""
        limits = self.limits if limits is None else checked_limits(limits)
        counts = self.counts()
        result = figures(counts, "pixel", self.resolution, limits)
        result.counts.update(self._tally)
        result.counts.update(pixels=counts.negative_total + counts.positive_total)
        result.counts.update(defect_pixels=counts.positive_total)
        return result

    def state(self) -> dict[str, np.ndarray]:
        """All that was counted, as plain integer arrays for npz files or process groups.

        The same images give the same arrays however they were split. Limits and resolution are not in it.
        """
        keys, counts = self._all.settle()
        defect_keys, defect_counts, weights = self._defects.settle(self._all.shift)
        return {
            "header": np.array([STATE_VERSION, self._all.budget, self._all.shift], np.int64),
            "tally": np.array(list(self._tally.values()), np.int64),
            "keys": keys.copy(),
            "counts": counts.copy(),
            "defect_keys": defect_keys.copy(),
            "defect_counts": defect_counts.copy(),
            "defect_weights": weights.copy(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, np.ndarray],
        limits: Sequence[float] = (0.3,),
        *,
        resolution: str = "as given",
    ) -> PixelMetrics:
        """The accumulator that `state` was taken from, ready to count on."""
        version, budget, shift = (int(value) for value in state["header"])
        if version != STATE_VERSION:
            raise SteerAnomalyError(
                f"expected pixel metrics saved in format {STATE_VERSION}, got {version}; evaluate again"
            )
        metrics = cls(limits, resolution=resolution, budget=budget)
        metrics._all = CodeHistogram.from_state(budget, shift, state["keys"], state["counts"])
        metrics._defects.add(state["defect_keys"], state["defect_counts"], state["defect_weights"], shift)
        metrics._tally = dict(zip(metrics._tally, (int(count) for count in state["tally"]), strict=True))
        return metrics


class _DefectHistogram:
    """Pixel counts and region weights of the defect pixels, by key; few enough to keep sorted."""

    LIMIT = 1 << 20

    def __init__(self) -> None:
        self._shift = 0
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]] = []
        self._waiting = 0

    def add(self, keys: np.ndarray, counts: np.ndarray, weights: np.ndarray, shift: int) -> None:
        self._parts.append((keys, counts, weights, shift))
        self._shift = max(self._shift, shift)
        self._waiting += keys.size
        if self._waiting > self.LIMIT:
            self.settle(self._shift)
            self._waiting = 0

    def merge(self, other: _DefectHistogram) -> None:
        for part in list(other._parts):
            self.add(*part)

    def settle(self, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sum over equal keys at `shift`, at least that of all parts: keys ascending, counts, weights."""
        self._shift = shift
        empty = np.zeros(0, np.int64)
        parts = [(keys >> (shift - old), counts, weights) for keys, counts, weights, old in self._parts]
        columns = [np.concatenate(column) for column in zip((empty, empty, empty), *parts, strict=True)]
        keys, (counts, weights) = summed(*columns)
        self._parts = [(keys, counts, weights, shift)]
        return keys, counts, weights
