"""How much of each defect region a threshold covers: for plots of PRO against defect size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from anomaly.metrics.arguments import checked_map, checked_mask
from anomaly.metrics.components import CONNECTIVITY


@dataclass(frozen=True)
class RegionCoverage:
    """One 8-connected region: its image's position in the samples, area in pixels, box (x1, y1 exclusive).

    `coverage` is the fraction of its pixels with score >= threshold, `peak` its highest score.
    """

    image: int
    area: int
    box_xyxy: tuple[int, int, int, int]
    coverage: float
    peak: float


def region_coverage(
    samples: Iterable[tuple[np.ndarray, np.ndarray | None]], threshold: float
) -> Iterator[RegionCoverage]:
    """Every region of every (map, mask), in order, at one threshold, such as that of F1-max.

    `PixelMetrics.threshold_at_fpr(0.3)` gives the threshold at PRO's limit.
    """
    for image, (score_map, mask) in enumerate(samples):
        scores = checked_map(score_map)
        defective = checked_mask(mask, scores.shape)
        if defective is not None and defective.any():
            yield from _regions(image, scores, defective, threshold)


def _regions(image: int, scores: np.ndarray, mask: np.ndarray, threshold: float) -> Iterator[RegionCoverage]:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask, connectivity=CONNECTIVITY, ltype=cv2.CV_32S
    )
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        crop = (slice(y, y + height), slice(x, x + width))
        inside = scores[crop][labels[crop] == label]
        covered = np.count_nonzero(inside >= np.float32(threshold)) / area
        yield RegionCoverage(image, area, (x, y, x + width, y + height), covered, float(inside.max()))
