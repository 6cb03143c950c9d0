"""Names the figures of a set of counts, and says which cannot be had and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly.metrics import bounds, curves
from anomaly.metrics.components import CONNECTIVITY
from anomaly.metrics.curves import Counts
from anomaly.metrics.result import Curves, MetricResult, Provenance

DEFINITIONS = {
    "auroc": "area under the ROC curve over all {unit}s, equal scores count half",
    "ap": "average precision over all {unit}s: sum of precision times step in recall",
    "f1_max": "highest F1 over all thresholds, all {unit}s pooled",
    "threshold": "lowest score called defective (score >= threshold) at f1_max",
    "pro": "mean coverage of all regions, each region equal, against the false-positive rate over all "
    "defect-free pixels; trapezoid over every distinct threshold, linear at the limit, over the limit",
}
PLOT_POINTS = 1000


def pro_name(limit: float, first: float) -> str:
    """`pro` for the first limit asked for, `pro@0.05` and the like for the others."""
    return "pro" if limit == first else f"pro@{limit:g}"


def figures(counts: Counts, unit: str, resolution: str, limits: Sequence[float] = ()) -> MetricResult:
    """All figures of `counts`; `unit` is "pixel" or "image". PRO is computed for each of `limits`."""
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    error: dict[str, float] = {}
    _rank_figures(counts, unit, values, undefined, error)
    for limit in limits:
        name = pro_name(limit, limits[0])
        missing = _missing(counts, unit, both=True)
        values[name], error[name] = None, 0.0
        if missing:
            undefined[name] = missing
        else:
            fpr, coverage = curves.pro_curve(counts)
            values[name] = curves.partial_area(fpr, coverage, limit)
            error[name] = bounds.pro_bound(counts, limit)
    return MetricResult(
        values_by_name=values,
        undefined=undefined,
        provenance=_provenance(counts, unit, resolution, limits),
        error_bound={name: bound for name, bound in error.items() if name not in undefined},
        curves=_plot_curves(counts),
    )


def _rank_figures(
    counts: Counts,
    unit: str,
    values: dict[str, float | None],
    undefined: dict[str, str],
    error: dict[str, float],
) -> None:
    values.update(auroc=None, ap=None, f1_max=None, threshold=None)
    missing = _missing(counts, unit, both=True)
    if missing:
        undefined["auroc"] = missing
    else:
        values["auroc"], error["auroc"] = curves.auroc(counts), bounds.auroc_bound(counts)
    missing = _missing(counts, unit, both=False)
    if missing:
        undefined.update(ap=missing, f1_max=missing, threshold=missing)
        return
    values["ap"], error["ap"] = curves.average_precision(counts), bounds.average_precision_bound(counts)
    f1_max, index = curves.best_f1(counts)
    values["f1_max"], values["threshold"] = f1_max, counts.threshold(index)
    error["f1_max"] = bounds.f1_bound(counts, f1_max)


def _missing(counts: Counts, unit: str, both: bool) -> str | None:
    if counts.positive_total == 0:
        return f"no defective {unit}s, so a true-positive rate does not exist"
    if both and counts.negative_total == 0:
        return f"no defect-free {unit}s, so a false-positive rate does not exist"
    return None


def _provenance(counts: Counts, unit: str, resolution: str, limits: Sequence[float]) -> dict[str, Provenance]:
    computed = "exact"
    if counts.shift:
        computed = f"histogram of {counts.keys.size} buckets, {counts.shift} low bits of the score dropped"
    entries = {
        name: Provenance(DEFINITIONS[name].format(unit=unit), resolution, computed)
        for name in ("auroc", "ap", "f1_max", "threshold")
    }
    for limit in limits:
        entries[pro_name(limit, limits[0])] = Provenance(
            DEFINITIONS["pro"], resolution, computed, CONNECTIVITY, limit
        )
    return entries


def _plot_curves(counts: Counts) -> Curves:
    """About PLOT_POINTS points, evenly spread over both rates; the end points are always there."""
    grid = np.linspace(0, 1, PLOT_POINTS // 2)
    picks = [np.zeros(0, np.int64)]
    for cumulated in (counts.false_positives, counts.true_positives):
        if counts.keys.size and cumulated[-1]:
            picks.append(np.searchsorted(cumulated, grid * cumulated[-1]))
    index = np.unique(np.concatenate(picks))
    false, true = counts.false_positives[index], counts.true_positives[index]
    pro = None
    if counts.weights is not None and counts.weight_total:
        pro = np.append(0.0, np.cumsum(counts.weights)[index] / counts.weight_total)
    return Curves(
        thresholds=np.append(np.float32(np.inf), counts.thresholds(index)),
        fpr=_rate(false, counts.negative_total),
        tpr=_rate(true, counts.positive_total),
        precision=np.append(1.0, true / np.maximum(true + false, 1)),
        pro=pro,
    )


def _rate(cumulated: np.ndarray, total: int) -> np.ndarray:
    if total == 0:
        return np.full(cumulated.size + 1, np.nan)
    return np.append(0.0, cumulated / total)
