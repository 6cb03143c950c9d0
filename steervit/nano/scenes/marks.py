"""What defect recipes share: the edit they return, the spot they start from, strokes and blots."""

from dataclasses import dataclass

import cv2
import numpy as np

from .fields import Array, Rng, blur, chance, coordinates, fractal_noise, log_uniform, mix, smooth_noise
from .stage import Place, Stage
from .surface import Surface


@dataclass
class Edit:
    """A damaged surface and where it is damaged (H x W, 0..1; the annotator's outline is where it passes 0.3).

    `part` is where the part is now, if the damage moved it.
    """

    surface: Surface
    area: Array
    thin: bool = False
    part: Array | None = None

    def __post_init__(self):
        self.area = np.asarray(self.area, np.float32)


@dataclass(frozen=True)
class Spot:
    """A point on a part, and the part's radius, in pixels."""

    x: float
    y: float
    radius: float

    def length(self, rng: Rng, low: float, high: float) -> float:
        """A length between two shares of the part's radius, small ones as likely as large ones; 2 px at least."""
        return max(2.0, log_uniform(rng, low, high) * self.radius)


def any_spot(rng: Rng, stage: Stage, at_edge: bool = False) -> Spot | None:
    """A random pixel of a random part (near its edge if asked), or None where that part is out of the picture."""
    place: Place = stage.places[int(rng.integers(len(stage.places)))]
    reach = int(place.radius * 1.2)
    top, left = max(0, int(place.y) - reach), max(0, int(place.x) - reach)
    inside = stage.part[top : int(place.y) + reach, left : int(place.x) + reach] > 0.5
    if at_edge and inside.size:
        inside = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        return None
    index = int(rng.integers(len(rows)))
    return Spot(float(columns[index] + left), float(rows[index] + top), place.radius)


def path(rng: Rng, x: float, y: float, length: float, wander: float, curl: float = 0.0) -> Array:
    """Points of a line of this length through (x, y); `wander` bends it at random, `curl` steadily (radians)."""
    count = int(np.clip(length / 3, 4, 90))
    turns = rng.normal(0, wander, count) + curl / count
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    steps = np.stack([np.cos(angle), np.sin(angle)], -1) * (length / count)
    points = np.cumsum(steps, 0)
    return points - points[count // 2] + [x, y]


def stroke(size: int, points: Array, width: float, taper: bool = False) -> Array:
    """Draw a line of `width` pixels (fainter where thinner than one pixel): H x W in 0..1."""
    canvas = np.zeros((size, size), np.uint8)
    fixed = np.round(points * 16).astype(np.int32)
    if taper and width >= 2:
        middle = (len(points) - 1) / 2
        for index in range(len(points) - 1):
            thick = width * (1 - 0.85 * abs(index - middle) / middle)
            cv2.line(
                canvas,
                fixed[index].tolist(),
                fixed[index + 1].tolist(),
                255,
                max(1, round(thick)),
                cv2.LINE_AA,
                4,
            )
    else:
        cv2.polylines(canvas, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * (min(width, 1.0) / 255)


def blot(
    rng: Rng, size: int, spot: Spot, radius: float, roughness: float | None = None, soft: float = 1.0
) -> Array:
    """An irregular spot with an edge `soft` pixels wide: H x W in 0..1."""
    roughness = rng.uniform(0, 0.5) if roughness is None else roughness
    x, y = coordinates(size)
    turn, squash = rng.uniform(0, np.pi), rng.uniform(0.4, 1)
    across = (x - spot.x) * np.cos(turn) + (y - spot.y) * np.sin(turn)
    down = ((y - spot.y) * np.cos(turn) - (x - spot.x) * np.sin(turn)) / squash
    away = np.sqrt(across**2 + down**2) / radius
    if roughness > 0.02 and radius > 2.5:
        away = away + roughness * 0.5 * fractal_noise(rng, size, radius * rng.uniform(0.4, 1.2), 4)
    return np.clip((1 - away) * radius / max(soft, 0.5) + 0.5, 0, 1).astype(np.float32)


def soften(rng: Rng, area: Array) -> Array:
    return blur(area, rng.uniform(0.3, 1.0))


def patchy(rng: Rng, size: int, cell: float, low: float = 0.0) -> Array:
    """Uneven strength in `low`..1, as of paint that does not cover or a scratch that skips."""
    return np.clip(0.6 + 0.5 * fractal_noise(rng, size, cell, 3), low, 1).astype(np.float32)


def painted(surface: Surface, tone: Array, alpha: Array) -> Surface:
    """The surface with a colour or another albedo laid over it."""
    return Surface(mix(surface.albedo, tone, alpha), surface.height, surface.gloss, surface.name)


def multiplied(surface: Surface, factor, alpha: Array) -> Surface:
    """The surface lighter or darker (factor: a number or RGB) where alpha is 1."""
    tone = 1 + (np.asarray(factor, np.float32) - 1) * alpha[..., None]
    return Surface(surface.albedo * tone, surface.height, surface.gloss, surface.name)


def raised(surface: Surface, rise: Array) -> Surface:
    return Surface(surface.albedo, surface.height + rise, surface.gloss, surface.name)


def tone_near(rng: Rng, stage: Stage, area: Array) -> Array:
    """The mean albedo under an area (3,)."""
    weight = area / (area.sum() + 1e-6)
    return np.einsum("hwc,hw->c", stage.surface.albedo, weight).astype(np.float32)


def some(rng: Rng, most: int, single: float = 0.6) -> int:
    """1 mostly, else up to `most`."""
    return 1 if chance(rng, single) else int(rng.integers(2, most + 1))


def grain(rng: Rng, size: int) -> Array:
    """Fine brightness noise as every surface has, to lay on what a recipe fills evenly."""
    return smooth_noise(rng, size, rng.uniform(1, 2.5))
