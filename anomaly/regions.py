"""Splits a defect mask into its connected regions and measures each, and says which are too small. Opens no file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.inspection import Region

FEW = 30  # regions that are looked at one by one; of more the whole picture is gone through once

LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(px|mm|mm2|mm²)?\s*")


@dataclass(frozen=True)
class Least:
    """The smallest region that is a defect, both in pixels of the picture: its `area`, and the longer side of its box.

    `mm_per_pixel` is how long a pixel is on the part, None where that is not known.
    """

    area: float = 0.0
    size: float = 0.0
    mm_per_pixel: float | None = None

    def __post_init__(self) -> None:
        scale = 1.0 if self.mm_per_pixel is None else self.mm_per_pixel
        if not (self.area >= 0 and self.size >= 0 and math.isfinite(self.area + self.size)):
            raise SteerAnomalyError(
                f"expected a least area and size of 0 or more, got {self.area:g} and {self.size:g}"
            )
        if not (scale > 0 and math.isfinite(scale)):
            raise SteerAnomalyError(f"expected millimetres per pixel above 0, got {scale:g}")

    @classmethod
    def of(cls, area: str | float = 0.0, size: str | float = 0.0, mm_per_pixel: float | None = None) -> Least:
        """From numbers of pixels, or texts such as "12", "0.5mm2" (an area) and "1.5mm" (a size).

        Raises `SteerAnomalyError` for other texts, and for millimetres without `mm_per_pixel`.
        """
        scale = cls(mm_per_pixel=mm_per_pixel).mm_per_pixel  # refused now if it is none
        return cls(_pixels(area, "area", 2, scale), _pixels(size, "size", 1, scale), scale)

    def keeps(self, region: Region) -> bool:
        """Whether the region is large enough."""
        return region.area >= self.area and region.longer_side >= self.size

    def kept(self, mask: np.ndarray) -> np.ndarray:
        """The mask (bool H x W) without regions that are too small."""
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        longer = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
        large = (stats[:, cv2.CC_STAT_AREA] >= self.area) & (longer >= self.size)
        large[0] = False
        return large[labels]

    def to_dict(self) -> dict[str, float]:
        """What is set, for a run's settings; `from_dict` takes it back, among others."""
        said = {"min_area": self.area, "min_size": self.size, "mm_per_pixel": self.mm_per_pixel}
        return {name: value for name, value in said.items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Least:
        """The inverse of `to_dict`. Raises `TypeError` for values that are no numbers."""
        return cls(
            values.get("min_area") or 0.0, values.get("min_size") or 0.0, values.get("mm_per_pixel") or None
        )


NO_LEAST = Least()


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


def _pixels(given: str | float, what: str, power: int, scale: float | None) -> float:
    """In pixels; an area is of `power` 2."""
    found = LENGTH.fullmatch(given) if isinstance(given, str) else None
    wrong = ("mm",) if power == 2 else ("mm2", "mm²")
    if isinstance(given, str) and (found is None or found[2] in wrong):
        raise SteerAnomalyError(
            f"expected a least {what} such as {'12 or 0.5mm2' if power == 2 else '5 or 1.5mm'}, got {given!r}"
        )
    if found is None or found[2] in (None, "px"):
        return float(found[1] if found else given)
    if scale is None:
        raise SteerAnomalyError(
            f"expected --mm-per-pixel beside a least {what} in millimetres, {given!r}: measure how many pixels "
            "a known length of the part has"
        )
    return float(found[1]) / scale**power
