"""Pixel F1 of masks that were decided already: SegF1 of MVTec AD 2."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.metrics.arguments import checked_mask
from anomaly.metrics.result import MetricResult, Provenance


class SegF1:
    """F1, precision and recall over all pixels of all images, pooled. Threshold the maps first."""

    def __init__(self, resolution: str = "as given") -> None:
        self.resolution = resolution
        self._true = self._false = self._missed = 0

    def update(self, predicted: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Count one image: both H x W, bool or integers, defective where not 0; `mask` None for good.

        Raises SteerAnomalyError, with nothing counted, on other shapes or dtypes.
        """
        found = checked_mask(predicted, np.shape(predicted))
        if found is None or found.ndim != 2:
            raise SteerAnomalyError(f"expected a predicted mask H x W, got shape {np.shape(predicted)}")
        truth = checked_mask(mask, found.shape)
        hits = 0 if truth is None else int(np.count_nonzero(found & truth))
        self._true += hits
        self._false += int(np.count_nonzero(found)) - hits
        self._missed += (0 if truth is None else int(np.count_nonzero(truth))) - hits

    def merge(self, other: SegF1) -> None:
        """Add what `other` counted."""
        self._true += other._true
        self._false += other._false
        self._missed += other._missed

    def compute(self) -> MetricResult:
        """`seg_f1` = 2 TP / (2 TP + FP + FN), `precision` and `recall`, as fractions."""
        definition = "F1 of the thresholded masks over all pixels of all images, pooled"
        defective, found = self._true + self._missed, self._true + self._false
        values: dict[str, float | None] = {"seg_f1": None, "precision": None, "recall": None}
        undefined = {}
        if defective:
            values["seg_f1"] = 2 * self._true / (defective + found)
            values["recall"] = self._true / defective
        else:
            undefined["seg_f1"] = undefined["recall"] = "no defective pixels"
        if found:
            values["precision"] = self._true / found
        else:
            undefined["precision"] = "nothing was predicted defective"
        entry = Provenance(definition, self.resolution, "exact")
        return MetricResult(values, undefined, dict.fromkeys(values, entry))

    def state(self) -> dict[str, np.ndarray]:
        """True positives, false positives, misses."""
        return {"counts": np.array([self._true, self._false, self._missed], np.int64)}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], resolution: str = "as given") -> SegF1:
        """The accumulator that `state` was taken from."""
        metric = cls(resolution)
        metric._true, metric._false, metric._missed = (int(count) for count in state["counts"])
        return metric
