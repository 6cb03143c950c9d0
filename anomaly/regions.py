"""Splits a defect mask into its connected regions and measures each. Knows nothing of models or files."""

from __future__ import annotations

import cv2
import numpy as np

from anomaly.inspection import Region

FEW = 30  # regions that are looked at one by one; of more the whole picture is gone through once


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
    mask = (mask != 0).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)  # most of a picture is no defect
    if not width:
        return ()
    rows, columns = slice(top, top + height), slice(left, left + width)
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(mask[rows, columns], connectivity=8)
    peaks = _peaks(labels, heatmap[rows, columns], stats)
    regions = [_region(stats[i], centroids[i], peaks[i], (left, top)) for i in range(1, len(stats))]
    return tuple(sorted(regions, key=lambda r: (-r.peak, -r.area, r.box_xyxy[1], r.box_xyxy[0])))


def _peaks(labels: np.ndarray, heatmap: np.ndarray, stats: np.ndarray) -> np.ndarray:
    """The highest value of each label, of the background too: within their boxes where these are few."""
    peaks = np.full(len(stats), -np.inf, np.float64)
    if len(stats) > FEW:
        np.maximum.at(peaks, labels, heatmap)
        return peaks
    for i, (x, y, width, height, _) in enumerate(stats[1:], 1):
        box = slice(y, y + height), slice(x, x + width)
        peaks[i] = np.max(heatmap[box], where=labels[box] == i, initial=-np.inf)
    return peaks


def _region(stats: np.ndarray, centroid: np.ndarray, peak: float, at: tuple[int, int]) -> Region:
    x, y, width, height, area = (int(value) for value in stats)
    x, y = x + at[0], y + at[1]
    return Region(
        area=area,
        box_xyxy=(x, y, x + width, y + height),
        centroid_xy=(float(centroid[0]) + at[0], float(centroid[1]) + at[1]),
        peak=float(peak),
    )
