"""Defect regions of a mask: 8-connected, each carrying the same weight however large. Knows no metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.metrics.codes import CODE_BITS, encode
from anomaly.metrics.histogram import run_starts

CONNECTIVITY = 8
UNIT_BITS = 40  # a region's pixels weigh exactly 2**40 together


@dataclass(frozen=True)
class DefectPixels:
    """Defect pixels of one image by score: `keys` (ascending per region), pixel `counts`, `weights`; int64.

    `weights` of one region sum to 2**UNIT_BITS exactly; all integers, so sums do not depend on their order.
    """

    keys: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    regions: int


def defect_pixels(scores: np.ndarray, mask: np.ndarray, shift: int) -> DefectPixels | None:
    """Count the defect pixels of a float32 H x W map under a uint8 H x W mask; None when it has none.

    The region's c lowest pixels weigh floor(c * 2**40 / area) together. Differences of that sum are what
    single scores weigh, and they add up the same at any resolution of the keys (codes without `shift` bits).
    """
    import cv2

    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return None
    crop = (slice(y, y + height), slice(x, x + width))
    count, labels = cv2.connectedComponents(
        np.ascontiguousarray(mask[crop]), connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    inside = np.flatnonzero(labels)
    label = labels.ravel()[inside].astype(np.int64)
    packed = (label << CODE_BITS) | encode(scores[crop].ravel()[inside])
    packed.sort()
    return _runs(packed, np.bincount(label), shift, count - 1)


def _runs(packed: np.ndarray, areas: np.ndarray, shift: int, regions: int) -> DefectPixels:
    first = np.cumsum(areas) - areas
    tops = packed >> shift
    starts = run_starts(tops)
    ends = np.append(starts[1:], packed.size)
    label = packed[starts] >> CODE_BITS
    area, offset = areas[label], first[label]
    weights = _share(ends - offset, area) - _share(starts - offset, area)
    keys = (packed[starts] & ((1 << CODE_BITS) - 1)) >> shift
    return DefectPixels(keys, ends - starts, weights, regions)


def _share(pixels: np.ndarray, area: np.ndarray) -> np.ndarray:
    """floor(pixels * 2**40 / area) in two steps of 20 bits, so that no product overflows."""
    half = UNIT_BITS // 2
    quotient, rest = np.divmod(pixels << half, area)
    return (quotient << half) + (rest << half) // area
