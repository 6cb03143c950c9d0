"""Defects of the body: holes, dents, missing pieces, broken edges, things that do not belong."""

import cv2
import numpy as np

from .colours import colour
from .fields import Array, Rng, blur, chance, coordinates, fractal_noise, mix, pick
from .marks import Edit, Spot, any_spot, blot, multiplied, painted, raised, soften, some
from .stage import Stage
from .surface import Surface


def hole(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Pores and blowholes: small dark pits, often oval, with a bright lip; sometimes several."""
    size = stage.size
    radius = max(1.2, spot.length(rng, 0.012, 0.2) * (0.6 if chance(rng, 0.5) else 1))
    area = blot(rng, size, spot, radius, rng.uniform(0, 0.3))
    for _ in range(some(rng, 7, 0.7) - 1):
        other = Spot(spot.x + rng.normal(0, radius * 4), spot.y + rng.normal(0, radius * 4), spot.radius)
        area = np.maximum(area, blot(rng, size, other, max(1.0, radius * rng.uniform(0.3, 1)), 0.2))
    area = soften(rng, area) * stage.part
    surface = raised(stage.surface, -blur(area, 0.8) * min(radius, 8) * rng.uniform(0.5, 2))
    if chance(rng, 0.2) and radius > 4:
        return Edit(painted(surface, stage.behind, area), area)
    depth = np.clip(area * (1 - 0.3 * rng.random() * blur(area, max(1, radius * 0.5))), 0, 1)
    return Edit(multiplied(surface, rng.uniform(0.08, 0.65), depth), area)


def dent(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Pressed in or bulged out: only the shading changes."""
    size = stage.size
    radius = spot.length(rng, 0.06, 0.5)
    shape = blot(rng, size, spot, radius, rng.uniform(0, 0.3), soft=max(1.5, radius * rng.uniform(0.2, 0.6)))
    bowl = blur(shape, max(1.0, radius * rng.uniform(0.1, 0.35))) * stage.part
    steep = rng.choice([-1, 1]) * rng.uniform(0.25, 1.2) * radius / max(stage.light.relief * 2.5, 0.3)
    area = (np.clip(blur(shape, radius * 0.15), 0, 1) > 0.12) * stage.part
    return Edit(raised(stage.surface, bowl * np.float32(steep)), area.astype(np.float32))


def missing_piece(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A piece broken off the rim shows the background; one broken out of a face shows raw material."""
    size = stage.size
    through = stage.part.min() < 0.5
    edge = any_spot(rng, stage, at_edge=True) if through else None
    spot = edge or spot
    radius = spot.length(rng, 0.08, 0.55)
    area = soften(rng, _shard(rng, size, spot, radius)) * stage.part
    wall = np.clip(blur(area, rng.uniform(1, 3)) * 2, 0, 1) - area
    surface = multiplied(stage.surface, rng.uniform(0.75, 1.25), np.clip(wall, 0, 1) * stage.part)
    if edge:
        return Edit(
            Surface(mix(surface.albedo, stage.behind, area), surface.height * (1 - area), surface.gloss, ""),
            area,
        )
    raw = surface.albedo.mean((0, 1)) * rng.uniform(0.4, 1.6) + rng.normal(0, 0.04, 3)
    facets = fractal_noise(rng, size, rng.uniform(4, 15), 3)
    inside = np.clip(raw * (1 + 0.06 * facets[..., None]), 0.02, 1).astype(np.float32)
    depth = -blur(area, 1.2) * radius * 0.3 + area * facets * rng.uniform(0.3, 1.5)
    return Edit(raised(painted(surface, inside, area * rng.uniform(0.5, 1)), depth), area)


def _shard(rng: Rng, size: int, spot: Spot, radius: float) -> Array:
    """A bite or a straight break."""
    if chance(rng, 0.6):
        return blot(rng, size, spot, radius, rng.uniform(0.1, 0.6))
    angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
    reach = radius * rng.uniform(0.6, 1.2, len(angle))
    corners = np.stack([spot.x + reach * np.cos(angle), spot.y + reach * np.sin(angle)], -1)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def broken_edge(rng: Rng, stage: Stage, spot: Spot) -> Edit | None:
    """A ragged stretch of the rim; where the part fills the picture, the picture's border is the rim."""
    size = stage.size
    start = any_spot(rng, stage, at_edge=True) if stage.part.min() < 0.5 else None
    dark = stage.behind
    if start is None:
        if stage.part.min() < 0.5:
            return None
        at, end = rng.uniform(0, size), size - 1.0
        side_x, side_y = pick(rng, ((at, 0.0), (at, end), (0.0, at), (end, at)))
        start = Spot(float(side_x), float(side_y), spot.radius)
        dark = stage.surface.albedo * rng.uniform(0.05, 0.4)
    depth = start.length(rng, 0.03, 0.15)
    area = np.zeros((size, size), np.float32)
    rim = cv2.distanceTransform(np.pad((stage.part > 0.5).astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    x, y = coordinates(size)
    along = np.hypot(x - start.x, y - start.y)
    length = depth * rng.uniform(2, 9)
    ragged = (
        depth
        * (0.5 + 0.6 * fractal_noise(rng, size, depth * rng.uniform(0.8, 2), 3))
        * np.clip(1.2 - along / length, 0, 1)
    )
    area = np.clip(ragged - rim + 0.5, 0, 1).astype(np.float32) * stage.part
    area = soften(rng, area)
    surface = painted(stage.surface, dark, area)
    return Edit(Surface(surface.albedo, surface.height * (1 - area), surface.gloss, ""), area)


def foreign_object(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A crumb, chip or pebble lying on the part, with its own shading and shadow."""
    size = stage.size
    radius = max(2.0, spot.length(rng, 0.03, 0.3))
    area = _shard(rng, size, spot, radius)
    shift = max(1, round(radius * 0.25))
    shadow = np.roll(area, (round(stage.light.down * shift), round(stage.light.across * shift)), (0, 1))
    surface = multiplied(stage.surface, rng.uniform(0.4, 0.8), blur(shadow, max(1, radius * 0.2)))
    if chance(rng, 0.4):
        skin = stage.other.albedo
    else:
        tone = colour(rng, pick(rng, ("metal", "food", "any", "dark", "pale")))
        skin = np.clip(tone + 0.05 * fractal_noise(rng, size, radius, 3)[..., None], 0, 1).astype(np.float32)
    surface = painted(surface, skin, soften(rng, area))
    return Edit(raised(surface, blur(area, max(0.8, radius * 0.3)) * radius * rng.uniform(0.3, 1)), area)
