"""How well each single defect region is found, so that PRO can be looked at by defect size and by image."""

from __future__ import annotations

import numpy as np

from anomaly.metrics import Curves


def region_scores(score_map: np.ndarray, mask: np.ndarray, curves: Curves, limit: float) -> list[list[float]]:
    """[area in pixels, PRO of this region alone] per 8-connected region of `mask` (bool H x W).

    A region's PRO is the area under its coverage against the category's false-positive rate, up to `limit`,
    over `limit`: each pixel with score s adds max(0, 1 - FPR(s) / limit) / area. The mean over all regions is
    the category's PRO, up to the thinning of the curve.
    """
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    found = labels[mask] - 1
    gain = np.clip(1 - _false_positive_rate(score_map[mask], curves) / limit, 0, 1)
    area = np.bincount(found, minlength=count - 1)
    total = np.bincount(found, weights=gain, minlength=count - 1)
    return [[int(a), round(float(t / a), 6)] for a, t in zip(area, total, strict=True)]


def image_pro(regions: list[list[float]] | None) -> float | None:
    """The mean PRO of one image's regions; None when it has none."""
    return float(np.mean([pro for _, pro in regions])) if regions else None


def _false_positive_rate(scores: np.ndarray, curves: Curves) -> np.ndarray:
    """FPR at which each score comes in: half-way between the two points of the curve it lies between."""
    thresholds, fpr = curves.thresholds[::-1], curves.fpr[::-1]  # ascending thresholds, the last one inf
    place = (np.searchsorted(thresholds, scores, side="right") - 1).clip(
        0
    )  # the highest that a score reaches
    return (fpr[place] + fpr[np.minimum(place + 1, fpr.size - 1)]) / 2
