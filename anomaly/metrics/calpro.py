"""PRO as much of the zero-shot literature computes it: 200 equal-width thresholds, rescaled FPR.

Kept apart from `PixelMetrics`, because its figures change under increasing transforms of the scores, and only
papers that used it should be compared with it. Needs two passes over the maps, since thresholds hang on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.metrics.arguments import checked_limits, checked_map, checked_mask
from anomaly.metrics.components import CONNECTIVITY
from anomaly.metrics.result import Curves, MetricResult, Provenance

STEPS = 200
Sample = tuple[np.ndarray, np.ndarray | None]


def calpro200(
    samples: Iterable[Sample], size_hw: tuple[int, int] | None = None, limit: float = 0.3, steps: int = STEPS
) -> MetricResult:
    """`pro_calpro200` of all (map, mask) in `samples`, which is gone through twice (a list, not a generator).

    Detected is `score > t` for t = min + i (max - min) / 200, i = 0..199. Of the points with a false-positive
    rate below `limit`, that rate is rescaled from its own min..max to 0..1, and the trapezoid area is taken;
    no interpolation at the limit. With `size_hw`, maps and masks are resized first, both bilinearly with
    antialiasing, masks cut above one half, as torchvision transforms do.
    """
    checked_limits((limit,))
    lowest, highest = _range(samples, size_hw)
    edges = lowest + (highest - lowest) / steps * np.arange(steps)
    false, covered, negatives, regions = np.zeros(steps + 1), np.zeros(steps + 1), 0, 0
    for scores, mask in _resized(samples, size_hw):
        bins = _bins(scores, edges)
        good = np.bincount(bins[mask == 0], minlength=steps + 1)
        false += good
        negatives += int(good.sum())
        regions += _add_coverage(bins, mask, covered)
    value, reason, curves = None, None, None
    if negatives == 0 or regions == 0:
        reason = f"needs defect-free pixels and regions, got {negatives} and {regions}"
    else:
        # A pixel in bin b passes the thresholds 0 .. b-1.
        fpr = np.cumsum(false[::-1])[::-1][1:] / negatives
        coverage = np.cumsum(covered[::-1])[::-1][1:] / regions
        value, reason = _area(fpr, coverage, limit)
        nothing = np.full(steps, np.nan)
        curves = Curves(edges[::-1].astype(np.float32), fpr[::-1], nothing, nothing, coverage[::-1])
    return _result(value, reason, curves, size_hw, limit, steps)


def _result(
    value: float | None,
    reason: str | None,
    curves: Curves | None,
    size_hw: tuple[int, int] | None,
    limit: float,
    steps: int,
) -> MetricResult:
    definition = (
        f"mean coverage of all regions at {steps} equal-width thresholds from the lowest to the highest "
        "score of all maps; points below the limit, false-positive rate rescaled to 0..1, trapezoid"
    )
    resolution = "as given" if size_hw is None else f"{size_hw[1]} x {size_hw[0]} pixels"
    name = f"pro_calpro{steps}"
    return MetricResult(
        values_by_name={name: value},
        undefined={} if reason is None else {name: reason},
        provenance={name: Provenance(definition, resolution, f"{steps} thresholds", CONNECTIVITY, limit)},
        curves=curves,
    )


def _area(fpr: np.ndarray, coverage: np.ndarray, limit: float) -> tuple[float | None, str | None]:
    """Area over the rescaled rate; thresholds ascend, so rates descend."""
    inside = fpr < limit
    x, y = fpr[inside][::-1], coverage[inside][::-1]
    if x.size == 0 or x[0] == x[-1]:
        return None, f"fewer than two different false-positive rates below {limit:g} at these thresholds"
    x = (x - x[0]) / (x[-1] - x[0])
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2), None


def _range(samples: Iterable[Sample], size_hw: tuple[int, int] | None) -> tuple[float, float]:
    lowest, highest, count = np.inf, -np.inf, 0
    for scores, _ in _resized(samples, size_hw):
        lowest, highest = min(lowest, float(scores.min())), max(highest, float(scores.max()))
        count += 1
    if count == 0:
        raise SteerAnomalyError("expected at least one map, got none; give a list of (map, mask)")
    if not np.isfinite(highest - lowest):
        raise SteerAnomalyError(
            "expected finite scores for equal-width thresholds, got an infinite one; use PixelMetrics"
        )
    return lowest, highest


def _resized(
    samples: Iterable[Sample], size_hw: tuple[int, int] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if iter(samples) is samples:
        raise SteerAnomalyError(
            "expected samples that can be gone through twice, got a generator; give a list"
        )
    for score_map, mask in samples:
        scores = checked_map(score_map)
        defective = checked_mask(mask, scores.shape)
        if defective is None:
            defective = np.zeros(scores.shape, np.uint8)
        if size_hw is not None and scores.shape != tuple(size_hw):
            width_height = (size_hw[1], size_hw[0])
            scores = np.asarray(Image.fromarray(scores).resize(width_height, Image.Resampling.BILINEAR))
            drawn = Image.fromarray(defective * 255).resize(width_height, Image.Resampling.BILINEAR)
            defective = (np.asarray(drawn) > 127).astype(np.uint8)
        yield scores, defective


def _bins(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the ascending `edges` lie strictly below each score: an estimate, then put right by one."""
    width = (edges[-1] - edges[0]) / (edges.size - 1)
    values = scores.astype(np.float64)
    if width == 0:
        return np.where(values > edges[0], edges.size, 0)
    guess = np.clip(np.ceil((values - edges[0]) / width), 0, edges.size).astype(np.int64)
    padded = np.concatenate([[-np.inf], edges, [np.inf]])
    guess -= padded[guess] >= values
    guess += padded[guess + 1] < values
    return guess


def _add_coverage(bins: np.ndarray, mask: np.ndarray, covered: np.ndarray) -> int:
    """Add each region's share of pixels per bin to `covered`; returns the number of regions."""
    import cv2

    count, labels = cv2.connectedComponents(mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
    inside = labels > 0
    area = np.bincount(labels[inside], minlength=count)
    covered += np.bincount(bins[inside], weights=1 / area[labels[inside]], minlength=covered.size)
    return count - 1
