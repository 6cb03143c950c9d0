"""ROC, precision-recall and PRO curves from three histograms over scores, and the figures they give.

Works on counts alone: where scores come from, and what a pixel or an image is, it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.metrics.codes import decode


@dataclass(frozen=True, eq=False)
class Counts:
    """Histograms over score codes, int64, highest score first.

    `negatives` counts defect-free samples, `positives` defective ones; `weights` is the weight of the
    defective ones, of total `weight_total` (None without regions). `keys` are codes without `shift` bits.
    """

    keys: np.ndarray
    shift: int
    negatives: np.ndarray
    positives: np.ndarray
    weights: np.ndarray | None = None
    weight_total: int = 0

    @cached_property
    def false_positives(self) -> np.ndarray:
        """Defect-free samples at or above each score."""
        return np.cumsum(self.negatives)

    @cached_property
    def true_positives(self) -> np.ndarray:
        """Defective samples at or above each score."""
        return np.cumsum(self.positives)

    @property
    def negative_total(self) -> int:
        return int(self.false_positives[-1]) if self.keys.size else 0

    @property
    def positive_total(self) -> int:
        return int(self.true_positives[-1]) if self.keys.size else 0

    def threshold(self, index: int) -> float:
        """The score such that `score >= threshold` holds for the first `index` + 1 entries alone."""
        return float(decode(self.keys[index : index + 1] << self.shift)[0])

    def thresholds(self, indices: np.ndarray) -> np.ndarray:
        """float32 thresholds, as `threshold`, of many entries."""
        return decode(self.keys[indices] << self.shift)


def auroc(counts: Counts) -> float:
    """Area under the ROC curve; equal scores count half. Needs samples of both kinds."""
    above = counts.true_positives - counts.positives / 2
    above *= counts.negatives
    return float(above.sum() / (counts.negative_total * counts.positive_total))


def average_precision(counts: Counts) -> float:
    """Sum over distinct scores of precision times the step in recall. Needs a defective sample."""
    hit = np.flatnonzero(counts.positives)
    true = counts.true_positives[hit]
    precision = true / (true + counts.false_positives[hit])
    return float((precision * counts.positives[hit]).sum() / counts.positive_total)


def best_f1(counts: Counts) -> tuple[float, int]:
    """The highest F1 over all thresholds and its histogram entry (the highest threshold among equals).

    Needs a defective sample. F1 = 2 TP / (2 TP + FP + FN).
    """
    f1 = counts.true_positives / (counts.true_positives + counts.false_positives + counts.positive_total)
    index = int(np.argmax(f1))
    return float(2 * f1[index]), index


def partial_area(x: np.ndarray, y: np.ndarray, limit: float) -> float:
    """Trapezoid area under a curve from (0, 0) up to x = `limit`, over `limit`; linear at the limit.

    `x` and `y` ascend and end at 1.
    """
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    inside = int(np.searchsorted(x, limit, side="right"))
    x_in, y_in = x[:inside], y[:inside]
    area = float((np.diff(x_in) * (y_in[1:] + y_in[:-1])).sum()) / 2
    if inside < x.size:
        slope = (y[inside] - y_in[-1]) / (x[inside] - x_in[-1])
        rest = limit - x_in[-1]
        area += float(rest * (y_in[-1] + slope * rest / 2))
    return area / limit


def pro_curve(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """False-positive rate and mean region coverage at each distinct score, highest first, fractions."""
    assert counts.weights is not None
    fpr = counts.false_positives / counts.negative_total
    return fpr, np.cumsum(counts.weights) / counts.weight_total
