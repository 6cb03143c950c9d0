"""Defects as glass and bare metal have them: rust, chips with facets, dents that bend what is mirrored, inclusions."""

import numpy as np

from .colours import near
from .fields import (
    Array,
    Rng,
    blur,
    chance,
    coordinates,
    displace,
    fractal_noise,
    log_uniform,
    mix,
    pick,
    rotate,
    smooth_noise,
)
from .marks import Edit, Spot, any_spot, blot, multiplied, painted, patchy, raised, soften, some
from .stage import Stage
from .surface import Surface

# Dry rust, wet rust, the brown that runs from it, black scale.
_RUST = ((0.45, 0.22, 0.08), (0.3, 0.13, 0.06), (0.55, 0.36, 0.18), (0.12, 0.09, 0.08))


def rust(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Rust: a pinprick, freckles or a field that creeps, rough and without shine, sometimes with a pale brown halo."""
    size = stage.size
    radius = spot.length(rng, 0.03, 0.8)
    reach = blot(rng, size, spot, radius, soft=1 + radius * rng.uniform(0.1, 0.6))
    freckles = fractal_noise(rng, size, log_uniform(rng, 2, 2 + radius * 0.5), 4, 0.75)
    grown = np.clip((freckles - rng.uniform(-1.2, 1.0)) * rng.uniform(1, 4), 0, 1) * reach
    if chance(rng, 0.5):
        grown = np.maximum(grown, blur(grown, max(1, radius * 0.1)) * rng.uniform(0.2, 0.6))
    grown = (soften(rng, np.maximum(grown, reach**3 * rng.uniform(0, 0.5))) * stage.part).astype(np.float32)
    grain = fractal_noise(rng, size, rng.uniform(1.5, 6), 3)
    brown = near(rng, np.array(pick(rng, _RUST), np.float32), 0.04) * (1 + 0.25 * grain)[..., None]
    surface = painted(stage.surface, np.clip(brown, 0.01, 1).astype(np.float32), grown * rng.uniform(0.35, 1))
    area = np.maximum(grown, reach * stage.part * 0.35) if radius < 12 else blur(grown, 2) + 0.5 * grown
    return Edit(raised(surface, grown * (0.5 + 0.5 * grain) * rng.uniform(0, 1.5)), np.clip(area, 0, 1))


def chip(rng: Rng, stage: Stage, spot: Spot) -> Edit | None:
    """A shell of glass or metal broken from an edge: facets that are bright on one side and dark on the other."""
    rim = any_spot(rng, stage, at_edge=chance(rng, 0.5))
    if rim is None:
        return None
    radius = rim.length(rng, 0.04, 0.3)
    area = blot(rng, stage.size, rim, radius, rng.uniform(0.1, 0.5), soft=0.8) * stage.part
    x, y = coordinates(stage.size)
    turn = rng.uniform(0, 2 * np.pi)
    across = ((x - rim.x) * np.cos(turn) + (y - rim.y) * np.sin(turn)) / radius
    ripples = np.sin(across * rng.uniform(3, 14) + 0.4 * smooth_noise(rng, stage.size, radius * 0.7 + 2))
    facets = np.clip(across * rng.uniform(0.2, 0.9) + ripples * rng.uniform(0.1, 0.5), -1, 1) * area
    pale = np.clip(stage.surface.albedo.mean() + rng.uniform(0.1, 0.7), 0, 1)
    surface = painted(
        stage.surface, np.full(3, pale, np.float32), np.clip(facets, 0, 1) * rng.uniform(0.4, 1)
    )
    surface = multiplied(surface, rng.uniform(0.1, 0.7), np.clip(-facets, 0, 1))
    return Edit(raised(surface, -area * rng.uniform(0, 4)), area)


def ding(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A dent in what mirrors: the reflection is drawn together in it, with a bright and a dark side."""
    size, radius = stage.size, spot.length(rng, 0.06, 0.35)
    area = blot(rng, size, spot, radius, rng.uniform(0, 0.2), soft=max(1, radius * 0.4)) * stage.part
    x, y = coordinates(size)
    pull = area * rng.uniform(0.4, 1.2) * pick(rng, (-1, 1))
    albedo = displace(stage.surface.albedo, pull * (x - spot.x), pull * (y - spot.y))
    towards = ((x - spot.x) * stage.light.across + (y - spot.y) * stage.light.down) / radius
    albedo = albedo * (1 + rng.uniform(0.1, 0.6) * towards * area)[..., None]
    albedo = mix(stage.surface.albedo, np.clip(albedo, 0.01, 1).astype(np.float32), np.clip(area * 2, 0, 1))
    depth = blur(area, max(1, radius * 0.2)) * radius * rng.uniform(0.05, 0.3) * pick(rng, (-1, 1))
    return Edit(Surface(albedo, stage.surface.height + depth, stage.surface.gloss, stage.surface.name), area)


def inclusion(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Slag or scale rolled in: dark or pale streaks and slivers along one direction, torn at their ends."""
    size = stage.size
    area = np.zeros((size, size), np.float32)
    turn = pick(rng, (0.0, 90.0, rng.uniform(0, 180)))
    for _ in range(some(rng, 5, 0.4)):
        at = Spot(
            spot.x + rng.normal(0, spot.radius * 0.15),
            spot.y + rng.normal(0, spot.radius * 0.15),
            spot.radius,
        )
        length, width = at.length(rng, 0.1, 0.8), at.length(rng, 0.01, 0.08)
        area = np.maximum(area, _sliver(rng, size, at, length, width, np.deg2rad(turn)))
    torn = rotate(fractal_noise(rng, size, rng.uniform(2, 6), 3, stretch=(1, rng.uniform(2, 10))), turn, 1.42)
    area = soften(rng, area * np.clip(0.9 + 0.6 * torn, 0, 1)) * stage.part
    alpha = area * patchy(rng, size, 6, 0.4)
    dark = chance(rng, 0.7)
    tone = rng.uniform(0.15, 0.7) if dark else rng.uniform(1.2, 1.8)
    return Edit(raised(multiplied(stage.surface, tone, alpha), alpha * rng.uniform(-0.8, 0.8)), area)


def _sliver(rng: Rng, size: int, spot: Spot, length: float, width: float, turn: float) -> Array:
    """A spindle through the spot, 0..1, its border wavy."""
    x, y = coordinates(size)
    along = ((x - spot.x) * np.cos(turn) + (y - spot.y) * np.sin(turn)) / length
    across = ((y - spot.y) * np.cos(turn) - (x - spot.x) * np.sin(turn)) + width * 0.5 * smooth_noise(
        rng, size, length / 3 + 2
    )
    half = width * np.sqrt(np.clip(1 - along**2, 0, 1))
    return np.clip(half - np.abs(across) + 0.5, 0, 1).astype(np.float32) * (np.abs(along) < 1)
