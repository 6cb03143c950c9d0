"""Where the part is in a photograph with an even background: what differs from the picture's rim.

Knows no model and nothing of defects. Where the background is not even it says so, rather than guess.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 256  # px, longer side at which pictures are looked at
RIM = 0.03  # of the shorter side
EVEN = 0.75  # share of the rim that has to be background
LEAST_APART = 8.0  # Lab units: what an eye takes for another colour even where light changes slowly
FAR = 45.0  # Lab units: farther colours are all alike no background
APART = 0.8  # how well two kinds of pixels have to be told apart; a bell curve has 0.64
SMALL = 0.01  # of the picture: smaller pieces are no part
SHARES = (0.02, 0.95)  # of the picture that a part may fill
MARGIN = 0.015  # of the longer side that the part is widened by, so that its edge is inside


def part_of(image: np.ndarray) -> np.ndarray | None:
    """Where the part is, bool of at most 256 px, or None where no even background can be told from it.

    `image` is RGB uint8 H x W x 3. Each piece is filled up to its convex hull: what is missing at an edge of the part,
    and holes, belong to it.
    """
    height, width = image.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if min(size) < 16:
        return None
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    apart = _from_background(colours)
    if apart is None:
        return None
    pieces = _pieces(apart)
    return pieces if SHARES[0] <= pieces.mean() <= SHARES[1] else None


def _from_background(colours: np.ndarray) -> np.ndarray | None:
    """What is unlike the background, bool; None when none can be told. The background's light may change slowly."""
    height, width = colours.shape[:2]
    band = max(2, round(RIM * min(height, width)))
    rim = np.ones((height, width), bool)
    rim[band:-band, band:-band] = False
    y, x = np.mgrid[:height, :width] / max(height, width)
    plane = np.stack([np.ones_like(x), x, y], -1)
    even = np.median(colours[rim], 0) + 0 * plane
    for _ in range(4):  # each time without what turned out not to be background: a part may touch the rim
        distance = np.minimum(np.linalg.norm(colours - even, axis=-1), FAR)
        limit, apart = _two(distance)
        like = rim & (distance <= limit)
        if limit < LEAST_APART or apart < APART or like.sum() < EVEN * rim.sum():
            return None
        fit, *_ = np.linalg.lstsq(plane[like], colours[like], rcond=None)
        even = plane @ fit
    return distance > limit


def _two(distance: np.ndarray) -> tuple[float, float]:
    """The value that divides distances best in two, and how well it does, 0..1 (Otsu 1979, eq. 12 and 16)."""
    top = float(distance.max()) or 1.0
    counts, edges = np.histogram(distance, 256, (0, top))
    middles, share = (edges[1:] + edges[:-1]) / 2, counts / distance.size
    below, mean = np.cumsum(share), np.cumsum(share * middles)
    total = mean[-1]
    between = (total * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-9)
    best = int(between.argmax())
    spread = float((share * (middles - total) ** 2).sum())
    return float(edges[best + 1]), float(between[best]) / max(spread, 1e-9)


def _pieces(apart: np.ndarray) -> np.ndarray:
    """The pieces of what is unlike the background, each as its convex hull, a little wider."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(apart.astype(np.uint8), cv2.MORPH_OPEN, kernel[1:-1, 1:-1])
    closed = cv2.morphologyEx(closed, cv2.MORPH_CLOSE, kernel)
    found, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hulls = [cv2.convexHull(one) for one in found if cv2.contourArea(one) >= SMALL * apart.size]
    drawn = np.zeros(apart.shape, np.uint8)
    for hull in hulls:
        cv2.fillConvexPoly(drawn, hull, 1)
    reach = max(1, round(MARGIN * max(apart.shape)))
    wider = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(drawn, wider) > 0
