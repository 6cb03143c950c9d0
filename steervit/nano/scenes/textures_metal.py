"""Metal surfaces: rolled, brushed, ground, turned, cast, blasted, coated, rusty. Most are grey and of low contrast."""

import cv2
import numpy as np

from .colours import colour, paint
from .fields import (
    Rng,
    blur,
    cells,
    chance,
    coordinates,
    fractal_noise,
    log_uniform,
    mix,
    rotate,
    smooth_noise,
    standardise,
    unit,
)
from .surface import Surface


def brushed(rng: Rng, size: int) -> Surface:
    """Fine parallel lines of a brush or a grinder, any length, mostly along one axis of the picture."""
    lines = fractal_noise(rng, size, rng.uniform(1.0, 3), 1, stretch=(rng.uniform(15, 200), 1))
    wide = fractal_noise(rng, size, rng.uniform(6, 40), 2, stretch=(rng.uniform(8, 40), 1))
    grain = smooth_noise(rng, size, rng.uniform(1, 2))
    value = standardise(lines * rng.uniform(0.3, 1) + wide * rng.uniform(0, 1) + grain * rng.uniform(0, 0.6))
    value = rotate(value, rng.choice([0.0, 90.0, rng.uniform(0, 180)]), 1.42)
    albedo = paint(value, colour(rng, "metal"), rng.uniform(0.02, 0.14))
    return Surface(albedo, value * rng.uniform(0, 0.3), rng.uniform(0.1, 0.5), "brushed metal")


def rolled(rng: Rng, size: int) -> Surface:
    """Rolled or drawn sheet: soft bands, faint clouds, scattered small marks, all grey."""
    bands = fractal_noise(rng, size, rng.uniform(4, 40), 3, stretch=(rng.uniform(20, 60), 1))
    clouds = fractal_noise(rng, size, rng.uniform(15, 70), 4)
    grain = smooth_noise(rng, size, rng.uniform(1, 2.2))
    value = standardise(
        bands * rng.uniform(0.3, 1) + clouds * rng.uniform(0, 0.8) + grain * rng.uniform(0.1, 0.7)
    )
    value = rotate(value, rng.choice([0.0, 90.0]), 1.02)
    base = colour(rng, "grey")
    return Surface(paint(value, base, rng.uniform(0.015, 0.1)), value * 0.1, rng.uniform(0, 0.3), "steel")


def cast(rng: Rng, size: int) -> Surface:
    """Cast or sintered: rough grey skin with pores everywhere."""
    relief = fractal_noise(rng, size, log_uniform(rng, 2, 12), 3, 0.7)
    base = colour(rng, "grey") * 0.7 + 0.1
    albedo = paint(fractal_noise(rng, size, 50, 4), base, rng.uniform(0.01, 0.07))
    albedo = albedo + (relief * rng.uniform(0.005, 0.04))[..., None]
    return Surface(albedo, relief * rng.uniform(0.2, 0.9), rng.uniform(0, 0.2), "cast metal")


def turned(rng: Rng, size: int) -> Surface:
    """Rings of a lathe with the two bright fans such faces have."""
    x, y = coordinates(size)
    centre = size / 2 + rng.normal(0, size * 0.03, 2) if chance(rng, 0.7) else rng.uniform(0, size, 2)
    radius = np.hypot(x - centre[0], y - centre[1])
    profile = standardise(np.convolve(rng.standard_normal(size * 3), np.ones(2) / 2, "same")).astype(
        np.float32
    )
    rings = profile[np.minimum(radius * rng.uniform(0.8, 1.8), size * 3 - 1).astype(np.intp)]
    fans = np.cos(2 * (np.arctan2(y - centre[1], x - centre[0]) - rng.uniform(0, np.pi))) ** 3
    value = rings * rng.uniform(0.2, 1) + smooth_noise(rng, size, 1.5) * 0.4
    albedo = paint(value, colour(rng, "metal"), rng.uniform(0.02, 0.1))
    albedo = albedo * (1 + fans * rng.uniform(0, 0.25))[..., None]
    return Surface(albedo.astype(np.float32), value.astype(np.float32) * 0.15, 0.3, "turned metal")


def blasted(rng: Rng, size: int) -> Surface:
    """Sand-blasted, anodised or powder-coated: fine even grain."""
    grain = standardise(smooth_noise(rng, size, rng.uniform(1, 3.5)))
    base = colour(rng, "any" if chance(rng, 0.4) else "metal")
    albedo = paint(grain, base, rng.uniform(0.005, 0.05))
    return Surface(albedo, grain * rng.uniform(0.1, 0.6), rng.uniform(0, 0.4), "metal")


def galvanised(rng: Rng, size: int) -> Surface:
    """Zinc spangle: crystals of different greys."""
    _, labels = cells(rng, size, log_uniform(rng, 10, 50), jitter=False)
    tone = rng.normal(0, 1, labels.max() + 1).astype(np.float32)[labels]
    value = blur(tone, rng.uniform(0.5, 2)) + 0.3 * smooth_noise(rng, size, 2)
    return Surface(
        paint(value, colour(rng, "metal"), rng.uniform(0.02, 0.09)), value * 0, 0.2, "galvanised steel"
    )


def rusty(rng: Rng, size: int) -> Surface:
    """Rust or wear that is everywhere, hence normal."""
    ground = rolled(rng, size)
    spread = np.clip(
        fractal_noise(rng, size, log_uniform(rng, 8, 50), 5, 0.7) * 1.5 + rng.uniform(0, 1), 0, 1
    )
    rust = paint(fractal_noise(rng, size, 6, 3), np.array([0.4, 0.22, 0.12], np.float32), 0.25)
    return Surface(mix(ground.albedo, rust, spread), spread * 1.0, 0.05, "weathered metal")


def painted_metal(rng: Rng, size: int) -> Surface:
    """Lacquer with orange peel: any colour, glossy, nearly flat."""
    peel = fractal_noise(rng, size, rng.uniform(4, 14), 2)
    albedo = paint(fractal_noise(rng, size, 90, 2), colour(rng, "any"), rng.uniform(0, 0.03))
    return Surface(albedo, peel * rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.8), "painted metal")


def checker_plate(rng: Rng, size: int) -> Surface:
    """Raised lozenges or dimples on a grid."""
    pitch = log_uniform(rng, 14, 45)
    x, y = coordinates(size)
    u, v = (x + y) / pitch, (x - y) / pitch
    bump = np.clip(np.cos(u * np.pi * 2) * np.cos(v * np.pi * 2) * 3 - 1, 0, 1).astype(np.float32)
    ground = brushed(rng, size)
    albedo = ground.albedo * (1 + 0.1 * unit(bump))[..., None]
    return Surface(
        albedo, rotate(ground.height + bump * pitch * 0.12, rng.uniform(0, 90), 1.42), 0.4, "tread plate"
    )


def scuffed(rng: Rng, size: int) -> Surface:
    """Used metal, plastic or glass: fine scratches and nicks all over, hence normal."""
    ground = rolled(rng, size) if chance(rng, 0.6) else blasted(rng, size)
    lines = np.zeros((size, size), np.uint8)
    main, spread = rng.uniform(0, np.pi), rng.choice([0.15, 3.0])
    for _ in range(int(rng.integers(40, 160))):
        angle, length = main + rng.normal(0, spread), rng.gamma(2.0, size * 0.04)
        start = rng.uniform(-0.1, 1.1, 2) * size
        stop = start + length * np.array([np.cos(angle), np.sin(angle)])
        fixed = np.round(np.stack([start, stop]) * 16).astype(np.int32)
        cv2.line(lines, fixed[0].tolist(), fixed[1].tolist(), int(rng.integers(40, 200)), 1, cv2.LINE_AA, 4)
    marks = blur(lines.astype(np.float32) / 255, 0.5)
    ground.albedo = ground.albedo * (1 + rng.choice([-0.5, 0.4]) * rng.uniform(0.2, 1) * marks)[..., None]
    return Surface(ground.albedo, ground.height - marks * 0.5, ground.gloss, "metal")


def blotched(rng: Rng, size: int) -> Surface:
    """Pickled, oxidised or oily sheet: soft dark blotches and runs everywhere on a low-contrast grey ground."""
    ground = rolled(rng, size)
    stretch = (rng.uniform(1, 6), 1.0)
    clouds = fractal_noise(rng, size, log_uniform(rng, 10, 45), 4, 0.65, stretch)
    dark = np.clip(clouds - rng.uniform(0, 0.8), 0, 2)
    if chance(rng, 0.4):
        dark = dark + np.clip(smooth_noise(rng, size, rng.uniform(2, 6)) - 1.8, 0, 1)
    ground.albedo = ground.albedo * (1 - rng.uniform(0.05, 0.25) * dark)[..., None]
    return Surface(ground.albedo, ground.height, ground.gloss, "steel")


def welded(rng: Rng, size: int) -> Surface:
    """A weld bead or a rolled thread across the sheet: scales one behind the other."""
    x, y = coordinates(size)
    ground = brushed(rng, size)
    middle = size / 2 + rng.normal(0, size * 0.1) + 3 * smooth_noise(rng, size, 80)
    half = size * rng.uniform(0.06, 0.2)
    across = np.clip(1 - ((y - middle) / half) ** 2, 0, 1)
    scales = np.sin((x + (y - middle) ** 2 / half) * 2 * np.pi / rng.uniform(5, 16))
    bead = (across > 0) * (np.sqrt(across) * half * 0.4 + scales * across)
    heat = np.exp(-(((y - middle) / (half * 2)) ** 2)) * rng.uniform(0, 0.3)
    albedo = ground.albedo * (1 - heat + 0.1 * scales * (across > 0))[..., None]
    both = np.dstack([albedo, ground.height + bead]).astype(np.float32)
    if chance(rng, 0.5):
        both = rotate(both, 90.0)
    return Surface(both[..., :3], both[..., 3], 0.3, "weld")
