"""Image AUROC, AP and F1-max from one score per image. Always exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.metrics.codes import encode
from anomaly.metrics.curves import Counts
from anomaly.metrics.figures import figures
from anomaly.metrics.histogram import summed
from anomaly.metrics.result import MetricResult


class ImageMetrics:
    """Feed it every test image's score and whether it is defective; then `compute`. Compared as float32."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._defective: list[bool] = []

    def update(self, score: float, defective: bool) -> None:
        """Count one image. Raises SteerAnomalyError on NaN, with nothing counted."""
        score = float(np.float32(score))
        if np.isnan(score):
            raise SteerAnomalyError(
                "expected a number as image score, got NaN; look at the heatmap it was taken from"
            )
        self._scores.append(score)
        self._defective.append(bool(defective))

    def merge(self, other: ImageMetrics) -> None:
        """Add the images of `other`; the order does not matter."""
        self._scores.extend(other._scores)
        self._defective.extend(other._defective)

    def compute(self) -> MetricResult:
        """`auroc`, `ap`, `f1_max` as fractions and the `threshold` of F1-max."""
        codes = encode(np.array(self._scores, np.float32))
        defective = np.array(self._defective, np.int64)
        order = np.argsort(codes, kind="stable")
        keys, (positives, total) = summed(codes[order], defective[order], np.ones_like(defective))
        counts = Counts(keys[::-1], 0, (total - positives)[::-1], positives[::-1])
        result = figures(counts, "image", "one score per image")
        result.counts.update(images=len(self._scores), defective_images=sum(self._defective))
        return result

    def state(self) -> dict[str, np.ndarray]:
        """Scores (float32) and labels (bool), sorted, so that the same images give the same arrays."""
        scores, defective = np.array(self._scores, np.float32), np.array(self._defective, bool)
        order = np.lexsort((defective, scores))
        return {"scores": scores[order], "defective": defective[order]}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> ImageMetrics:
        """The accumulator that `state` was taken from."""
        metrics = cls()
        metrics._scores = [float(score) for score in state["scores"]]
        metrics._defective = [bool(label) for label in state["defective"]]
        return metrics
