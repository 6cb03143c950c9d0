"""Defects that change how an area looks: stains, wear, burns, glue, dirt, prints, patches, smears."""

import cv2
import numpy as np

from .colours import colour, near
from .fields import (
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
from .marks import (
    Edit,
    Spot,
    blot,
    grain,
    multiplied,
    painted,
    patchy,
    path,
    raised,
    soften,
    some,
    stroke,
    tone_near,
)
from .stage import Stage
from .surface import Surface


def stain(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Liquid that soaked in (darker, the texture still shows) or paint on top; sometimes a dark rim, splashes."""
    size = stage.size
    radius = spot.length(rng, 0.03, 0.55)
    area = blot(rng, size, spot, radius, soft=rng.uniform(1, 1 + radius * 0.3))
    for _ in range(some(rng, 6, 0.7) - 1):
        drop = Spot(spot.x + rng.normal(0, radius * 1.3), spot.y + rng.normal(0, radius * 1.3), spot.radius)
        area = np.maximum(area, blot(rng, size, drop, max(1.5, radius * rng.uniform(0.1, 0.5))))
    area = soften(rng, area) * stage.part
    alpha = area * patchy(rng, size, max(4, radius * 0.7), rng.uniform(0.3, 1))
    if chance(rng, 0.35):
        alpha = np.clip(
            alpha * 0.6 + (area - blur(area, max(1.5, radius * 0.15))) * rng.uniform(0.3, 1), 0, 1
        )
    if chance(rng, 0.45):
        tint = rng.uniform(0.25, 0.85) * (1 + rng.normal(0, 0.15, 3))
        return Edit(multiplied(stage.surface, np.clip(tint, 0.02, 1.2), alpha), area)
    return Edit(painted(stage.surface, colour(rng), alpha * rng.uniform(0.2, 0.95)), area)


def discolouration(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A soft-edged change of colour: burnt brown, bleached, tarnished, heat tints."""
    size = stage.size
    radius = spot.length(rng, 0.1, 0.8)
    area = blot(rng, size, spot, radius, soft=radius * rng.uniform(0.3, 1.0)) * stage.part
    tints = (
        (0.35, 0.25, 0.18),
        (0.75, 0.6, 0.4),
        (1.35, 1.3, 1.25),
        (0.7, 0.8, 1.2),
        (1.2, 0.85, 0.7),
        (0.6, 0.6, 0.6),
    )
    tint = 1 + (np.array(pick(rng, tints)) - 1) * rng.uniform(0.3, 1)
    return Edit(multiplied(stage.surface, tint, area * patchy(rng, size, radius * 0.5 + 3, 0.6)), area)


def wear(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Rubbed or frayed: the surface pales or darkens towards its own mean, streaky, often a wide band at an edge."""
    size = stage.size
    if chance(rng, 0.4):
        x, y = coordinates(size)
        away = pick(rng, (x, size - x, y, size - y)) + fractal_noise(rng, size, 60, 2) * 5
        depth = size * rng.uniform(0.06, 0.3)
        area = np.clip((depth - away) / rng.uniform(1, 8) + 0.5, 0, 1)
        if chance(rng, 0.5):
            area = area * np.clip((pick(rng, (x, y)) - rng.uniform(0.2, 0.6) * size) / 3, 0, 1)
    else:
        area = blot(rng, size, spot, spot.length(rng, 0.1, 0.7), soft=rng.uniform(1, 8))
    area = (area * stage.part).astype(np.float32)
    streaks = fractal_noise(rng, size, rng.uniform(1.5, 4), 2, stretch=(rng.uniform(1, 15), 1))
    streaks = rotate(streaks, rng.choice([0.0, 90.0, rng.uniform(0, 180)]), 1.42)
    alpha = area * np.clip(0.5 + 0.4 * streaks, 0, 1)
    mean = tone_near(rng, stage, area)
    tone = np.clip(mean * rng.uniform(0.4, 1.7) + rng.normal(0, 0.05), 0.02, 1).astype(np.float32)
    surface = painted(stage.surface, tone, alpha * rng.uniform(0.3, 0.9))
    return Edit(raised(surface, alpha * rng.uniform(-1, 1)), area)


def rough_patch(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Pitted or corroded: relief and speckle that the rest does not have."""
    size = stage.size
    area = (
        soften(rng, blot(rng, size, spot, spot.length(rng, 0.08, 0.6), soft=rng.uniform(1, 6))) * stage.part
    )
    noise = fractal_noise(rng, size, log_uniform(rng, 1.5, 7), 2, 0.8)
    if chance(rng, 0.4):
        noise = -np.clip(noise - 0.6, 0, 2) * 1.5
    surface = raised(stage.surface, noise * area * rng.uniform(0.3, 2.5))
    return Edit(
        multiplied(surface, 1, area) if chance(rng, 0.3) else _speckled(rng, surface, noise, area), area
    )


def _speckled(rng: Rng, surface: Surface, noise, area) -> Surface:
    albedo = surface.albedo * (1 + noise * area * rng.uniform(0.05, 0.35))[..., None]
    return Surface(albedo, surface.height, surface.gloss, surface.name)


def glue(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Drops and runs of something clear: a dome with a glint, slightly tinted, that smooths what lies below."""
    size = stage.size
    radius = spot.length(rng, 0.06, 0.4)
    area = blot(rng, size, spot, radius, rng.uniform(0, 0.25))
    if chance(rng, 0.5):
        run = path(rng, spot.x, spot.y, radius * rng.uniform(2, 5), 0.05)
        area = np.maximum(area, stroke(size, run, max(2, radius * 0.4), taper=True))
    area = soften(rng, area) * stage.part
    dome = blur(area, max(1, radius * 0.25)) * radius * rng.uniform(0.3, 0.9)
    smooth = blur(stage.surface.albedo, rng.uniform(0.8, 2.5))
    surface = painted(stage.surface, smooth, area)
    surface = painted(surface, colour(rng, pick(rng, ("pale", "food", "any"))), area * rng.uniform(0.03, 0.4))
    slope = np.gradient(dome)
    glint = np.clip((slope[1] * stage.light.across + slope[0] * stage.light.down) - 0.15, 0, 0.6) * area
    surface.albedo += (glint * rng.uniform(0.5, 1.8))[..., None]
    return Edit(raised(surface, dome), area)


def contamination(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A cloud of specks, or grime of one tone."""
    size = stage.size
    spread = spot.length(rng, 0.08, 0.6)
    count = int(rng.integers(3, 45))
    area = np.zeros((size, size), np.uint8)
    for _ in range(count):
        x, y = rng.normal(spot.x, spread * 0.5), rng.normal(spot.y, spread * 0.5)
        axes = np.maximum(rng.gamma(1.5, 0.7, 2) * max(0.6, spot.radius / 90), 0.5)
        fixed = (int(x * 16), int(y * 16)), (int(axes[0] * 16), int(axes[1] * 16))
        cv2.ellipse(area, fixed[0], fixed[1], rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    specks = area.astype(np.float32) / 255 * stage.part
    tone = near(rng, colour(rng, pick(rng, ("dark", "pale", "food", "any"))), 0.05)
    surface = painted(stage.surface, tone, specks * rng.uniform(0.5, 1))
    return Edit(raised(surface, specks * rng.uniform(0, 1.5)), specks, thin=True)


def misprint(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Ink where none belongs: strokes, a stray character, bars, a doubled or dragged print."""
    size = stage.size
    reach = spot.length(rng, 0.12, 0.5)
    ink = np.zeros((size, size), np.float32)
    form = rng.random()
    if form < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            wavy = path(
                rng,
                spot.x + rng.normal(0, reach * 0.4),
                spot.y,
                reach * rng.uniform(1, 3),
                0.3,
                rng.normal(0, 3),
            )
            ink = np.maximum(ink, stroke(size, wavy, log_uniform(rng, 1, 4)))
    elif form < 0.75:
        letters = np.zeros((size, size), np.uint8)
        text = "".join(pick(rng, "ABEGHKRSX2358#%&/") for _ in range(int(rng.integers(1, 4))))
        scale = reach / 18 / len(text) ** 0.5
        at = (int(spot.x - reach * 0.6), int(spot.y + reach * 0.3))
        cv2.putText(
            letters, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(scale * 2)), cv2.LINE_AA
        )
        ink = rotate(letters.astype(np.float32) / 255, 0)
    else:
        x, y = coordinates(size)
        bar = np.clip(reach * rng.uniform(0.1, 0.4) - np.abs(y - spot.y), 0, 1)
        ink = (bar * np.clip(reach - np.abs(x - spot.x), 0, 1)).astype(np.float32)
    alpha = soften(rng, ink) * stage.part * patchy(rng, size, 8, 0.3) * rng.uniform(0.4, 1)
    return Edit(
        painted(stage.surface, colour(rng, pick(rng, ("any", "dark", "pale"))), alpha), ink * stage.part
    )


def foreign_patch(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """A piece of other material, or of this one from elsewhere, turned or toned differently."""
    size = stage.size
    radius = spot.length(rng, 0.08, 0.5)
    if chance(rng, 0.3):
        corners = cv2.boxPoints(
            ((spot.x, spot.y), (radius * 2, radius * rng.uniform(0.3, 2)), rng.uniform(0, 180))
        )
        shape = np.zeros((size, size), np.uint8)
        cv2.fillPoly(shape, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        area = shape.astype(np.float32) / 255
    else:
        area = blot(rng, size, spot, radius)
    area = blur(area, rng.uniform(0.4, 1.5)) * stage.part
    if chance(rng, 0.55):
        source = stage.other.copy()
        if chance(rng, 0.5):
            here, there = tone_near(rng, stage, area), source.albedo.mean((0, 1))
            source.albedo = np.clip(source.albedo - there + here * rng.uniform(0.75, 1.25), 0, 1)
    else:
        shift = rng.uniform(-0.4, 0.4, 2) * size
        both = rotate(
            np.dstack([stage.surface.albedo, stage.surface.height]),
            rng.uniform(20, 340),
            rng.uniform(0.7, 1.6),
        )
        both = np.roll(both, (int(shift[0]), int(shift[1])), (0, 1))
        tone = rng.uniform(0.65, 1.4)
        source = Surface(both[..., :3] * tone, both[..., 3], 0, "")
    height = mix(stage.surface.height, source.height, area) + blur(area, 1) * rng.uniform(-2, 2)
    return Edit(
        Surface(mix(stage.surface.albedo, source.albedo, area), height, stage.surface.gloss, ""), area
    )


def smear(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """Wiped, polished or melted: the texture is lost or dragged along."""
    size = stage.size
    area = blot(rng, size, spot, spot.length(rng, 0.15, 0.7), soft=rng.uniform(1, 5)) * stage.part
    surface = stage.surface
    drag = int(rng.integers(5, 25))
    kernel = np.zeros((drag, drag), np.float32)
    cv2.line(kernel, (0, int(rng.integers(drag))), (drag - 1, int(rng.integers(drag))), 1.0)
    kernel /= kernel.sum()
    albedo = cv2.filter2D(surface.albedo, -1, kernel, borderType=cv2.BORDER_REFLECT) * rng.uniform(0.8, 1.25)
    albedo = albedo + (grain(rng, size) * 0.006)[..., None]
    height = cv2.filter2D(surface.height, -1, kernel, borderType=cv2.BORDER_REFLECT)
    return Edit(
        Surface(mix(surface.albedo, albedo, area), mix(surface.height, height, area), surface.gloss, ""), area
    )


def deformation(rng: Rng, stage: Stage, spot: Spot) -> Edit:
    """The part itself is bent: everything near the spot is pushed aside or twisted."""
    size = stage.size
    radius = spot.length(rng, 0.15, 0.6)
    x, y = coordinates(size)
    near_spot = np.exp(-((x - spot.x) ** 2 + (y - spot.y) ** 2) / (2 * (radius * 0.5) ** 2)).astype(
        np.float32
    )
    push = rng.normal(0, 1, 2)
    push = push / np.linalg.norm(push) * radius * rng.uniform(0.15, 0.5)
    twist = rng.normal(0, 0.6)
    shift_x = (
        near_spot * (push[0] - twist * (y - spot.y))
        + near_spot * smooth_noise(rng, size, radius) * radius * 0.05
    )
    shift_y = near_spot * (push[1] + twist * (x - spot.x))
    both = displace(np.dstack([stage.surface.albedo, stage.surface.height]), shift_x, shift_y)
    shading = near_spot * rng.normal(0, 0.1)
    albedo = both[..., :3] * (1 + shading)[..., None]
    moved = np.hypot(shift_x, shift_y) * (blur(stage.part, 3) > 0.08)
    return Edit(
        Surface(albedo, both[..., 3], stage.surface.gloss, ""), np.clip(moved / 3, 0, 1).astype(np.float32)
    )
