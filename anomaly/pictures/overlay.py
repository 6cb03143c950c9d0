"""Draws heatmaps and defect outlines on photographs. Knows nothing of files or of how a heatmap was made.

Images are RGB uint8 H x W x 3, heatmaps float H x W, levels uint8 H x W (a place on the colour scale).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np

OVERLAY_SIDE = 1600  # px; larger photographs are drawn smaller, masks and heatmaps keep every pixel
THRESHOLD_LEVEL = 128
OUTLINE_RGB = (0, 255, 220)
_SMALL_REGION = 14  # px in the overlay; smaller regions get a ring, or nobody would find them
_MAX_OUTLINES = 200
_DRAWN_POINTS = 1_200  # of outlines on a page


@dataclass(frozen=True)
class ColorScale:
    """Which heatmap values get which colour, the same for all images of a run, so that colours compare.

    `low` and below is drawn clear, `threshold` in the middle of the scale, `high` and above red.
    """

    low: float
    threshold: float
    high: float

    @classmethod
    def from_heatmap(cls, heatmap: np.ndarray, threshold: float | None) -> ColorScale:
        """The scale of a run, from the heatmap of its first image.

        Background is its median and spread its robust standard deviation (1.4826 x MAD). With a threshold the
        scale reaches as far above it as the background lies below. Without one it ends at the peak or ten
        spreads above the background, whichever is higher, so that mere noise does not glow.
        """
        values = heatmap[:: max(1, heatmap.shape[0] // 256), :: max(1, heatmap.shape[1] // 256)]
        low = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - low))), 1e-6 * max(1.0, abs(low)), 1e-12)
        if threshold is None:
            high = max(low + 10 * spread, float(heatmap.max()))
            return cls(low, (low + high) / 2, high)
        reach = max(threshold - low, 3 * spread)
        high = threshold + reach
        if values.min() >= 0 and heatmap.max() <= 1 and threshold < 1:
            high = min(high, 1.0)  # probabilities
        return cls(threshold - reach, threshold, high)

    def levels(self, heatmap: np.ndarray) -> np.ndarray:
        """Heatmap values as uint8 levels: `low` 0, `threshold` 128, `high` 255, straight lines between."""
        places = [self.low, self.threshold, self.high]
        return np.interp(heatmap, places, [0, THRESHOLD_LEVEL, 255]).astype(np.uint8)

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def heat_layer(levels: np.ndarray) -> np.ndarray:
    """Levels as a coloured, partly transparent layer, RGBA uint8 H x W x 4, to lay over the photograph.

    Clear to blue and green below the threshold, yellow at it, bright red at the top.
    """
    # Turbo between these places: its dark ends would make the worst defect on a dark part look harmless.
    places = np.interp(np.arange(256), [0, THRESHOLD_LEVEL, 255], [35, 160, 222]).astype(np.uint8)
    bgr = cv2.applyColorMap(cv2.LUT(levels, places), cv2.COLORMAP_TURBO)
    alpha = np.interp(np.arange(256), [0, 40, THRESHOLD_LEVEL, 255], [0, 0, 150, 215]).astype(np.uint8)
    return np.dstack([bgr[..., ::-1], cv2.LUT(levels, alpha)])


def blend(image: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The `heat_layer` of `levels` (same H x W) laid over `image`.

    Colour and opacity hang on the level alone, so they are computed for its 256 values and looked up.
    """
    table = heat_layer(np.arange(256, dtype=np.uint8)[:, None])
    alpha = cv2.cvtColor(np.ascontiguousarray(table[..., 3]), cv2.COLOR_GRAY2RGB)
    front = cv2.multiply(np.ascontiguousarray(table[..., :3]), alpha, scale=1 / 255)
    spread = cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB)
    return cv2.add(cv2.LUT(spread, front), cv2.multiply(image, cv2.LUT(spread, 255 - alpha), scale=1 / 255))


def shrink(array: np.ndarray, max_side: int) -> np.ndarray:
    """`array` with its longer side at most `max_side` px, averaged over areas; never larger, never empty."""
    height, width = array.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return array
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(array, size_wh, interpolation=cv2.INTER_AREA)


def outlines(mask: np.ndarray) -> list[list[int]]:
    """The outlines of the regions of `mask` as flat [x, y, x, y, ...] polygons in its pixels, longest first.

    Simplified to 1/1500 of the longer side (at least 0.75 px), holes included, at most 200 of them.
    """
    if not mask.any():
        return []
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(0.75, max(mask.shape) / 1500)
    polygons = [cv2.approxPolyDP(points, tolerance, True).astype(int).ravel().tolist() for points in found]
    order = sorted(range(len(found)), key=lambda i: -cv2.arcLength(found[i], True))
    return [polygons[i] for i in order[:_MAX_OUTLINES]]


def drawable(polygons: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """As many polygons, longest first, as stay within a number of points that browsers draw at once; one at least."""
    kept: list[Sequence[int]] = []
    points = 0
    for polygon in polygons:
        points += len(polygon) // 2
        if points > _DRAWN_POINTS and kept:
            break
        kept.append(polygon)
    return kept


def draw_overlay(
    image: np.ndarray,
    heatmap: np.ndarray,
    scale: ColorScale,
    polygons: Sequence[Sequence[int]] = (),
    boxes_xyxy: Sequence[tuple[int, int, int, int]] = (),
    max_side: int = OVERLAY_SIDE,
) -> np.ndarray:
    """The photograph with its heatmap and the outlines of its defects, RGB uint8, at most `max_side` px.

    `polygons` are the `outlines` of the mask, `boxes_xyxy` its regions: those too small to be seen at that size get a
    ring around them.
    """
    small = shrink(image, max_side)
    heat = cv2.resize(heatmap, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    drawn = np.ascontiguousarray(blend(_pale(small), scale.levels(heat)))
    factor = np.array(small.shape[1::-1]) / np.array(image.shape[1::-1])
    width = max(1, round(max(small.shape) / 500))
    scaled = [np.int32(np.reshape(flat, (-1, 2)) * factor).reshape(-1, 1, 2) for flat in polygons]
    for color, thick in (((0, 0, 0), width + 1), (OUTLINE_RGB, width)):
        cv2.polylines(drawn, scaled, True, color, thick, cv2.LINE_AA)
    _draw_rings(drawn, boxes_xyxy, factor, width)
    return drawn


def _pale(image: np.ndarray) -> np.ndarray:
    """The photograph with little colour left, so that colour means heat."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 0.35, grey, 0.65, 0)


def _draw_rings(
    drawn: np.ndarray, boxes_xyxy: Sequence[tuple[int, int, int, int]], factor: np.ndarray, width: int
) -> None:
    for x0, y0, x1, y1 in boxes_xyxy[:_MAX_OUTLINES]:
        if max((x1 - x0) * factor[0], (y1 - y0) * factor[1]) < _SMALL_REGION:
            center = [round((x0 + x1) / 2 * factor[0]), round((y0 + y1) / 2 * factor[1])]
            cv2.circle(drawn, center, _SMALL_REGION, (0, 0, 0), width + 1, cv2.LINE_AA)
            cv2.circle(drawn, center, _SMALL_REGION, OUTLINE_RGB, width, cv2.LINE_AA)
