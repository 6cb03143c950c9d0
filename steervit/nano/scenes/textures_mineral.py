"""Stone, ceramic, concrete and asphalt."""

import numpy as np

from .colours import colour, near, paint, ramp
from .fields import (
    Array,
    Rng,
    blur,
    cell_borders,
    cells,
    chance,
    coordinates,
    fractal_noise,
    log_uniform,
    rotate,
    smooth_noise,
    standardise,
    unit,
    warp,
)
from .surface import Surface


def flat(size: int) -> Array:
    return np.zeros((size, size), np.float32)


def stone(rng: Rng, size: int) -> Surface:
    noise = fractal_noise(rng, size, log_uniform(rng, 8, 90), 5, rng.uniform(0.45, 0.8))
    base = colour(rng, "stone")
    if chance(rng, 0.5):
        albedo = ramp(rng, unit(noise), base, rng.uniform(0.03, 0.15))
    else:
        albedo = paint(noise, base, rng.uniform(0.02, 0.15))
    return Surface(albedo, noise * rng.uniform(0, 0.5), 0.05, "stone")


def granite(rng: Rng, size: int) -> Surface:
    _, labels = cells(rng, size, log_uniform(rng, 2.5, 14))
    base = colour(rng, "stone")
    kinds = np.stack([near(rng, base, rng.uniform(0.05, 0.25)) for _ in range(5)])
    choice = rng.choice(5, size=labels.max() + 1, p=[0.35, 0.3, 0.2, 0.1, 0.05])
    albedo = blur(kinds[choice][labels], rng.uniform(0.4, 1.0))
    grain = smooth_noise(rng, size, rng.uniform(1, 2))
    return Surface(albedo + grain[..., None] * 0.02, flat(size), rng.uniform(0, 0.1), "granite")


def marble(rng: Rng, size: int) -> Surface:
    base = colour(rng, "pale" if chance(rng, 0.6) else "stone")
    bands = fractal_noise(rng, size, size / rng.uniform(2, 5), 4)
    veins = np.exp(-np.abs(bands) * rng.uniform(6, 20))
    clouds = fractal_noise(rng, size, 60, 4)
    albedo = paint(clouds, base, 0.04) - veins[..., None] * (base * rng.uniform(0.1, 0.4))
    return Surface(albedo, flat(size), 0.05, "marble")


def concrete(rng: Rng, size: int) -> Surface:
    base = colour(rng, "grey") * 0.6 + 0.25
    clouds = fractal_noise(rng, size, log_uniform(rng, 30, 120), 3)
    grain = fractal_noise(rng, size, rng.uniform(1.5, 5), 2, 0.8)
    albedo = paint(clouds, base, rng.uniform(0.01, 0.06)) + (grain * rng.uniform(0.01, 0.05))[..., None]
    height = grain * rng.uniform(0.1, 0.5)
    if chance(rng, 0.5):
        pits = np.clip(smooth_noise(rng, size, rng.uniform(3, 7)) - rng.uniform(2.0, 2.8), 0, 1)
        albedo = albedo * (1 - 0.5 * np.minimum(pits * 2, 1))[..., None]
        height = height - 2 * pits
    return Surface(albedo, height, 0, "concrete")


def asphalt(rng: Rng, size: int) -> Surface:
    """Pebbles in tar: bright and dark grains of one or a few pixels, often bluish, washed out by daylight."""
    base = np.full(3, rng.uniform(0.22, 0.6), np.float32) + rng.normal(0, 0.015, 3).astype(np.float32)
    fine = smooth_noise(rng, size, rng.uniform(1.0, 1.8))
    coarse = fractal_noise(rng, size, rng.uniform(3, 7), 2)
    clouds = fractal_noise(rng, size, rng.uniform(40, 150), 3)
    grain = fine * rng.uniform(0.4, 1.2) + coarse * rng.uniform(0.2, 0.9)
    value = standardise(np.sign(grain) * np.abs(grain) ** rng.uniform(1.0, 1.6))
    albedo = paint(value, base, rng.uniform(0.04, 0.17)) + (clouds * rng.uniform(0.005, 0.025))[..., None]
    pebbles = np.clip(smooth_noise(rng, size, rng.uniform(2, 4)) - rng.uniform(1.8, 2.4), 0, 1)
    albedo += (pebbles * rng.uniform(0.1, 0.5))[..., None]
    return Surface(albedo.astype(np.float32), value * rng.uniform(0, 0.5), 0, "asphalt")


def terrazzo(rng: Rng, size: int) -> Surface:
    distance, labels = cells(rng, size, log_uniform(rng, 8, 30))
    base = colour(rng, "stone")
    chips = np.stack([near(rng, base, 0.25) for _ in range(6)])[rng.integers(0, 6, labels.max() + 1)][labels]
    radius = (rng.uniform(1, 9, labels.max() + 1).astype(np.float32))[labels]
    alpha = np.clip(radius - distance + smooth_noise(rng, size, 3) * 0.6, 0, 1)[..., None]
    ground = paint(fractal_noise(rng, size, 4, 2), base, 0.03)
    return Surface(ground + (chips - ground) * alpha, flat(size), 0.05, "terrazzo")


def glazed(rng: Rng, size: int) -> Surface:
    """One glazed ceramic face: almost flat, sometimes speckled, sometimes with a crazed glaze."""
    base = colour(rng, "pale" if chance(rng, 0.6) else "any")
    albedo = paint(fractal_noise(rng, size, 80, 2), base, rng.uniform(0, 0.02))
    if chance(rng, 0.4):
        specks = np.clip(smooth_noise(rng, size, rng.uniform(1.5, 4)) - rng.uniform(1.2, 2.2), 0, 1)
        albedo = albedo * (1 - rng.uniform(0.2, 0.7) * np.minimum(2 * specks, 1))[..., None]
    if chance(rng, 0.2):
        _, labels = cells(rng, size, rng.uniform(14, 40), jitter=False)
        albedo = albedo * (1 - 0.3 * blur(cell_borders(labels), 0.6))[..., None]
    return Surface(albedo, smooth_noise(rng, size, 60) * 1.5, 0.4, "ceramic")


def tiled(rng: Rng, size: int) -> Surface:
    """Tiles or bricks with joints: the joints are normal."""
    pitch_x = log_uniform(rng, 24, 110)
    pitch_y = pitch_x * rng.choice([1.0, 0.5, 0.4])
    x, y = coordinates(size)
    x, y = x + rng.uniform(0, pitch_x), y + rng.uniform(0, pitch_y)
    row = np.floor(y / pitch_y)
    x = x + (row % 2) * pitch_x * rng.choice([0, 0.5])
    gap = rng.uniform(1, 3.5)
    rim_x = np.minimum(x % pitch_x, pitch_x - x % pitch_x)
    rim_y = np.minimum(y % pitch_y, pitch_y - y % pitch_y)
    edge = np.clip((np.minimum(rim_x, rim_y) - gap) / 1.5, 0, 1).astype(np.float32)
    tint = (rng.normal(0, 1, 997).astype(np.float32))[((np.floor(x / pitch_x) * 31 + row) % 997).astype(int)]
    face = stone(rng, size) if chance(rng, 0.5) else glazed(rng, size)
    face.albedo = face.albedo * (1 + tint * rng.uniform(0, 0.1))[..., None]
    joint = colour(rng, "grey")
    albedo = face.albedo * edge[..., None] + joint * (1 - edge[..., None])
    turned = rotate(np.dstack([albedo, edge]), rng.choice([0.0, 90.0, rng.uniform(0, 180)]), 1.4)
    albedo, height = turned[..., :3], turned[..., 3] * 1.5
    return Surface(np.ascontiguousarray(albedo), np.ascontiguousarray(height), 0.2, "tiles")


def plaster(rng: Rng, size: int) -> Surface:
    relief = warp(rng, fractal_noise(rng, size, log_uniform(rng, 5, 25), 3), 4, 30)
    base = colour(rng, "pale" if chance(rng, 0.7) else "any")
    return Surface(paint(relief, base, 0.01), relief * rng.uniform(0.5, 2), 0.02, "plaster")
