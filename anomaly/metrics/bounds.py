"""How far figures from a coarsened histogram can be from the exact ones, whatever the order inside a bucket.

Worst cases, reached only if the scores of every bucket were perfectly sorted the right or the wrong way; real
maps lie orders of magnitude closer. All are 0 when no bit was dropped.
"""

from __future__ import annotations

import numpy as np

from anomaly.metrics.codes import decode
from anomaly.metrics.curves import Counts


def auroc_bound(counts: Counts) -> float:
    """Half of each bucket's product of rates, summed."""
    mixed = _mixed(counts)
    pairs = counts.negatives[mixed] / counts.negative_total * counts.positives[mixed]
    return float(pairs.sum() / counts.positive_total / 2)


def pro_bound(counts: Counts, limit: float) -> float:
    """As for AUROC with region weights, up to the limit; the bucket at the limit counts in full."""
    assert counts.weights is not None
    mixed = _mixed(counts)
    fpr = counts.false_positives[mixed] / counts.negative_total
    step = counts.negatives[mixed] / counts.negative_total
    pairs = step * (counts.weights[mixed] / counts.weight_total)
    factor = np.where(fpr <= limit, 0.5, np.where(fpr - step < limit, 1.0, 0.0))
    return float((pairs * factor).sum() / limit)


def f1_bound(counts: Counts, f1_max: float) -> float:
    """The F1 of the best bucket, had all its defective samples the higher scores, over `f1_max`."""
    mixed = _mixed(counts)
    true = counts.true_positives[mixed]
    false = counts.false_positives[mixed] - counts.negatives[mixed]
    best = 2 * true / (true + false + counts.positive_total)
    return max(0.0, float(best.max(initial=0.0)) - f1_max)


def average_precision_bound(counts: Counts) -> float:
    """Per bucket: highest minus lowest precision any order allows, times its step in recall."""
    mixed = _several(counts, counts.positives > 0)
    true, false = counts.true_positives[mixed], counts.false_positives[mixed]
    before_true, before_false = true - counts.positives[mixed], false - counts.negatives[mixed]
    best = true / (true + before_false)
    worst = (before_true + 1) / (before_true + 1 + false)
    return float(((best - worst) * counts.positives[mixed]).sum() / counts.positive_total)


def _mixed(counts: Counts) -> np.ndarray:
    """Buckets with samples of both kinds whose scores may differ."""
    return _several(counts, (counts.negatives > 0) & (counts.positives > 0))


def _several(counts: Counts, chosen: np.ndarray) -> np.ndarray:
    """Those of the `chosen` buckets (bool) that are wide enough for two different scores."""
    if counts.shift == 0:
        return np.zeros(0, np.int64)
    buckets = np.flatnonzero(chosen)
    lowest, above = counts.thresholds(buckets), decode((counts.keys[buckets] + 1) << counts.shift)
    with np.errstate(over="ignore"):
        return buckets[np.nextafter(lowest, np.float32(np.inf)) < above]
