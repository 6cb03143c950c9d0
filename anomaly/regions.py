"""Splits a defect mask into its connected regions and measures each. Knows nothing of models or files."""

from __future__ import annotations

import cv2
import numpy as np

from anomaly.inspection import Region


def find_regions(mask: np.ndarray, heatmap: np.ndarray) -> tuple[Region, ...]:
    """The 8-connected regions of `mask`, the one with the highest peak first.

    `mask` is bool (or 0 / non-zero) H x W and `heatmap` float H x W. Equal peaks are ordered by area, larger
    first, then from the top left. Raises `ValueError` when the shapes differ.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.shape != heatmap.shape:
        raise ValueError(
            f"expected a mask and a heatmap of one H x W shape, got {mask.shape} and {heatmap.shape}"
        )
    if not mask.any():
        return ()
    found = cv2.connectedComponentsWithStats((mask != 0).astype(np.uint8), connectivity=8)
    count, labels, stats, centroids = found
    inside = labels > 0
    peaks = np.full(count, -np.inf, np.float64)
    np.maximum.at(peaks, labels[inside], heatmap[inside])
    regions = [_region(stats[i], centroids[i], peaks[i]) for i in range(1, count)]
    return tuple(sorted(regions, key=lambda r: (-r.peak, -r.area, r.box_xyxy[1], r.box_xyxy[0])))


def _region(stats: np.ndarray, centroid: np.ndarray, peak: float) -> Region:
    x, y, width, height, area = (int(value) for value in stats)
    return Region(
        area=area,
        box_xyxy=(x, y, x + width, y + height),
        centroid_xy=(float(centroid[0]), float(centroid[1])),
        peak=float(peak),
    )
