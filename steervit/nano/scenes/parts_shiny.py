"""Parts that shine: glass seen from above, turned and drilled metal, polished plates with holes."""

from dataclasses import dataclass

import numpy as np

from . import outlines
from . import textures_metal as metal
from . import textures_polished as polished
from .colours import colour
from .fields import Array, Rng, blur, chance, coordinates, log_uniform, mix, pick, smooth_noise, standardise
from .parts import Part, hole_places, material, plain, stamp, start
from .surface import Surface

_STEPS = 720  # of a turn


@dataclass(frozen=True)
class _Polar:
    """Distance from a point in units of the outline, and direction as a number of steps (each H x W)."""

    radius: Array
    step: Array

    @classmethod
    def of(cls, part: Part, x: float = 0.0, y: float = 0.0) -> "_Polar":
        across, down = coordinates(part.size)
        across, down = (across - part.size / 2) / part.unit - x, (down - part.size / 2) / part.unit - y
        turn = np.arctan2(down, across) / (2 * np.pi) % 1
        return cls(np.hypot(across, down), (turn * _STEPS).astype(np.intp) % _STEPS)

    def around(self, values: Array) -> Array:
        """One value for each step of a turn, laid out as rays."""
        return values[self.step]

    def arc(self, radius: float, width: float, middle: float, reach: float) -> Array:
        """A soft piece of a ring, 0..1; `middle` and `reach` in turns."""
        away = np.abs((self.step / _STEPS - middle + 0.5) % 1 - 0.5)
        across = np.clip(1 - np.abs(self.radius - radius) / width, 0, 1)
        return (across * np.clip((reach - away) / (0.25 * reach) + 0.5, 0, 1)).astype(np.float32)


def _uneven(rng: Rng, cell: float) -> Array:
    """Noise around a turn, features about `cell` steps wide, deviation 1."""
    count = max(3, int(_STEPS / cell))
    coarse = rng.standard_normal(count)
    turn = np.arange(_STEPS) / _STEPS * count
    return standardise(
        np.interp(turn, np.arange(count + 1), [*coarse, coarse[0]]).astype(np.float32)[:, None]
    )[:, 0]


def glass(rng: Rng, size: int) -> Part:
    """A bottle's mouth, a jar or a tumbler from above: rings that swallow, pass or bend the light, arcs that glare.

    Deeper rings are seen from aside; walls show streaks of what is bent in them, the same all around.
    """
    ground = plain(rng, size, pick(rng, ("pale", "dark", "dark", "any")))
    part = start(rng, size, outlines.circle(), ground, "bottle", 0.02)
    tint = colour(rng, pick(rng, ("pale", "any", "food"))) if chance(rng, 0.7) else np.ones(3, np.float32)
    aside, radius = rng.normal(0, 0.06, 2), 1.0
    dark = chance(rng, 0.5)
    for _ in range(int(rng.integers(4, 11))):
        _glass_ring(rng, part, _Polar.of(part, *(aside * (1 - radius))), radius, tint, dark)
        dark = dark != chance(rng, 0.75)
        radius *= rng.uniform(0.72, 0.97)
        if radius < 0.15:
            break
    for _ in range(int(rng.integers(0, 6))):
        at = _Polar.of(part, *(aside * rng.uniform(0, 0.5)))
        arc = at.arc(
            rng.uniform(0.3, 0.98), log_uniform(rng, 0.01, 0.06), rng.random(), log_uniform(rng, 0.01, 0.2)
        )
        part.surface.albedo = mix(part.surface.albedo, np.ones(3, np.float32), arc * rng.uniform(0.3, 1))
    part.surface.gloss = rng.uniform(0, 0.6)
    return part


def _glass_ring(rng: Rng, part: Part, at: _Polar, radius: float, tint: Array, dark: bool) -> None:
    tone = tint * (rng.uniform(0.02, 0.25) if dark else rng.uniform(0.4, 1))
    rays = rng.uniform(0, 0.35) * _uneven(rng, log_uniform(rng, 4, 60))
    sides = rng.uniform(0, 0.4) * np.cos(
        2 * np.pi * (np.arange(_STEPS) / _STEPS * rng.integers(1, 4) - rng.random())
    )
    inwards = rng.normal(0, 0.6) * (radius - at.radius)
    albedo = tone * np.maximum(1 + at.around((rays + sides).astype(np.float32)) + inwards, 0.03)[..., None]
    edge = log_uniform(rng, 0.5, 6) / part.unit
    inside = np.clip((radius - at.radius) / edge + 0.5, 0, 1).astype(np.float32)
    part.surface.albedo = mix(part.surface.albedo, albedo.astype(np.float32), inside)
    part.surface.height = part.surface.height + inside * rng.uniform(-3, 3)


def machined(rng: Rng, size: int) -> Part:
    """A turned part from above: rings with lathe marks and fans of light, bright chamfers, a bore, holes or slots."""
    shape = pick(rng, ("ring", "disc", "commutator"))
    part = start(rng, size, outlines.circle(), material(rng, size, "metal"), shape, 0.04)
    at = _Polar.of(part)
    tone, radius = colour(rng, "metal"), 1.0
    for _ in range(int(rng.integers(2, 7))):
        _turned_ring(rng, part, at, radius, tone if chance(rng, 0.7) else colour(rng, "metal"))
        radius *= rng.uniform(0.6, 0.93)
    if shape == "commutator":
        outer, inner = rng.uniform(0.8, 1), rng.uniform(0.4, 0.75)
        for angle in np.arange(bars := int(rng.integers(6, 40))) * 2 * np.pi / bars:
            slot = outlines.box((outer - inner) / 2, rng.uniform(0.01, 0.02), 0, ((outer + inner) / 2, 0))
            part.darken(outlines.turned(slot, angle), 0.7)
    elif chance(rng, 0.5):
        away, hole = rng.uniform(0.5, 0.8), rng.uniform(0.04, 0.12)
        for angle in np.arange(count := int(rng.integers(2, 10))) * 2 * np.pi / count:
            part.cut(outlines.circle(hole, (away * np.cos(angle), away * np.sin(angle))))
    if shape == "ring" or chance(rng, 0.5):
        part.cut(outlines.circle(rng.uniform(0.08, 0.4)))
    part.surface.gloss = rng.uniform(0.2, 0.8)
    return part


def _turned_ring(rng: Rng, part: Part, at: _Polar, radius: float, tone: Array) -> None:
    marks = standardise(
        blur(rng.standard_normal((2 * part.size, 1)).astype(np.float32), rng.uniform(0.3, 2))
    )[:, 0]
    lathe = marks[np.minimum(at.radius * part.unit * 1.4, len(marks) - 1).astype(np.intp)]
    turn = np.arange(_STEPS) / _STEPS - rng.random()
    fans = np.abs(np.cos(np.pi * turn * pick(rng, (1, 2, 2, 3)))) ** log_uniform(rng, 2, 30)
    light = 1 + rng.uniform(0.1, 0.8) * at.around(fans.astype(np.float32)) + rng.uniform(0.02, 0.15) * lathe
    light = light + rng.uniform(0, 0.05) * smooth_noise(rng, part.size, 1.5)
    albedo = tone * rng.uniform(0.5, 1.1) * light[..., None]
    inside = np.clip((radius - at.radius) * part.unit + 0.5, 0, 1).astype(np.float32)
    part.surface.albedo = mix(part.surface.albedo, albedo.astype(np.float32), inside)
    chamfer = at.arc(radius, log_uniform(rng, 0.008, 0.05), rng.random(), 1.0)
    part.surface.albedo = part.surface.albedo * (1 + rng.uniform(-0.7, 0.9) * chamfer)[..., None]
    part.surface.height = part.surface.height + inside * rng.uniform(-4, 4)


def polished_plate(rng: Rng, size: int) -> Part:
    """A plate of shining metal with holes and slots, its edges broken by a bright line."""
    width, height = rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.95)
    corner = rng.uniform(0, 0.3) if chance(rng, 0.7) else 0.0
    outline = outlines.box(width, height, corner)
    part = start(rng, size, outline, shining(rng, size), "plate", 0.03)
    inner = part.mask(outline * (1 - rng.uniform(0.01, 0.04)))
    part.surface.albedo *= (1 + rng.uniform(-0.4, 0.7) * (part.alpha - inner))[..., None]
    for x, y in hole_places(rng, width, height):
        radius = rng.uniform(0.03, 0.1)
        if chance(rng, 0.5):
            part.cover(
                outlines.circle(radius * rng.uniform(1.3, 1.9), (x, y)),
                shining(rng, size),
                rng.uniform(-2, 2),
            )
        part.cut(outlines.circle(radius, (x, y)))
    if chance(rng, 0.2):
        stamp(rng, part, width * 0.5, height * 0.3)
    return part


def shining(rng: Rng, size: int) -> Surface:
    """A metal face as tools and rolls leave it."""
    return pick(rng, (polished.polished, polished.lapped, polished.strip, metal.brushed, metal.blasted))(
        rng, size
    )
