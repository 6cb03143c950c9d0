"""Leather, wood, paper, plastics, rubber, food and loose goods."""

import numpy as np

from .colours import colour, near, paint, ramp
from .fields import (
    Rng,
    blur,
    cell_borders,
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
    warp,
)
from .surface import Surface


def leather(rng: Rng, size: int) -> Surface:
    """Pebbled grain with darker valleys, faint wrinkles, pores that are everywhere."""
    _, labels = cells(rng, size, log_uniform(rng, 3, 12))
    valley = standardise(blur(cell_borders(labels), rng.uniform(0.5, 1.3)))
    wrinkle = np.exp(-np.abs(fractal_noise(rng, size, rng.uniform(20, 70), 3)) * 8)
    relief = -valley * rng.uniform(0.1, 0.6) - wrinkle * rng.uniform(0, 0.6)
    base = colour(rng, "leather")
    clouds = fractal_noise(rng, size, 70, 3)
    albedo = paint(-valley, base, rng.uniform(0.005, 0.07)) + (clouds * 0.015)[..., None]
    return Surface(albedo.astype(np.float32), relief.astype(np.float32), rng.uniform(0, 0.35), "leather")


def smooth_leather(rng: Rng, size: int) -> Surface:
    """Coated leather or vinyl: nearly even, low contrast, a few bright specks."""
    grain = fractal_noise(rng, size, rng.uniform(1.5, 5), 2)
    base = colour(rng, "leather")
    albedo = (
        paint(fractal_noise(rng, size, 90, 2), base, 0.015) + (grain * rng.uniform(0.002, 0.02))[..., None]
    )
    if chance(rng, 0.5):
        albedo = albedo + (smooth_noise(rng, size, 1.2) > 3.3)[..., None] * rng.uniform(0.05, 0.4)
    return Surface(albedo.astype(np.float32), grain * rng.uniform(0.05, 0.4), rng.uniform(0, 0.3), "leather")


def wood(rng: Rng, size: int) -> Surface:
    """Year rings cut lengthwise, pores along the grain, sometimes planks with joints."""
    x, _ = coordinates(size)
    bend = fractal_noise(rng, size, size / rng.uniform(1, 3), 3, stretch=(2.5, 1)) * rng.uniform(2, 30)
    rings = np.sin((x + bend) * 2 * np.pi / log_uniform(rng, 6, 40))
    pores = smooth_noise(rng, size, 1.3, (rng.uniform(8, 25), 1))
    value = standardise(
        rings * rng.uniform(0.2, 1) + pores * rng.uniform(0.2, 0.8) + fractal_noise(rng, size, 40, 2) * 0.4
    )
    albedo = ramp(rng, unit(np.clip(value, -2.5, 2.5)), colour(rng, "wood"), rng.uniform(0.03, 0.12))
    height = pores * 0.1
    if chance(rng, 0.25):
        pitch = rng.uniform(50, 140)
        joint = np.clip(1.5 - np.abs((x % pitch) - pitch / 2), 0, 1)
        albedo = albedo * (1 - 0.7 * joint)[..., None]
    turned = rotate(np.dstack([albedo, height]), rng.choice([0.0, 90.0, rng.uniform(0, 180)]), 1.42).astype(
        np.float32
    )
    return Surface(np.ascontiguousarray(turned[..., :3]), np.ascontiguousarray(turned[..., 3]), 0.05, "wood")


def particle_board(rng: Rng, size: int) -> Surface:
    _, labels = cells(rng, size, log_uniform(rng, 4, 14))
    base = colour(rng, "wood")
    flakes = np.stack([near(rng, base, 0.1) for _ in range(8)])[rng.integers(0, 8, labels.max() + 1)][labels]
    stretched = warp(rng, flakes, 3, 12)
    return Surface(stretched + smooth_noise(rng, size, 1.5)[..., None] * 0.02, labels * 0.0, 0, "chipboard")


def paper(rng: Rng, size: int) -> Surface:
    fibres = fractal_noise(rng, size, rng.uniform(2, 9), 3)
    base = colour(rng, "pale") if chance(rng, 0.7) else colour(rng, "wood")
    return Surface(paint(fibres, base, rng.uniform(0.005, 0.03)), fibres * rng.uniform(0, 0.3), 0, "paper")


def plastic(rng: Rng, size: int) -> Surface:
    """Moulded plastic: an even colour, fine erosion grain, sometimes glossy."""
    grain = smooth_noise(rng, size, rng.uniform(1, 4))
    albedo = paint(fractal_noise(rng, size, 100, 2), colour(rng, "any"), rng.uniform(0, 0.02))
    return Surface(albedo, grain * rng.uniform(0, 0.35), rng.uniform(0, 0.8), "plastic")


def rubber(rng: Rng, size: int) -> Surface:
    grain = fractal_noise(rng, size, rng.uniform(1.5, 5), 2)
    base = colour(rng, "dark") + 0.04
    return Surface(paint(grain, base, rng.uniform(0.02, 0.15)), grain * rng.uniform(0.1, 0.5), 0.1, "rubber")


def foam(rng: Rng, size: int) -> Surface:
    """Open pores of many sizes."""
    distance, labels = cells(rng, size, log_uniform(rng, 4, 14), jitter=False)
    size_of = rng.uniform(0.5, 6, labels.max() + 1).astype(np.float32)[labels]
    pore = blur(np.clip(size_of - distance, 0, 1), 0.6)
    albedo = paint(fractal_noise(rng, size, 8, 3), colour(rng, "any"), 0.05)
    return Surface(albedo * (1 - rng.uniform(0.2, 0.6) * pore)[..., None], -pore * 1.5, 0, "foam")


def baked(rng: Rng, size: int) -> Surface:
    """Biscuit, bread, cake: browned clouds, crumbs, natural shallow cracks, sometimes chips or seeds."""
    clouds = fractal_noise(rng, size, rng.uniform(25, 80), 4, 0.6)
    crumb = fractal_noise(rng, size, rng.uniform(2, 7), 3, 0.7)
    base = colour(rng, "food")
    albedo = (
        ramp(rng, unit(clouds), base, rng.uniform(0.04, 0.1)) + (crumb * rng.uniform(0.01, 0.04))[..., None]
    )
    height = crumb * rng.uniform(0.3, 1) + clouds * rng.uniform(0, 3)
    if chance(rng, 0.5):
        creases = np.exp(-np.abs(fractal_noise(rng, size, rng.uniform(25, 60), 3)) * 14)
        creases = creases * (fractal_noise(rng, size, 40, 2) > 0)
        height = height - creases * 1.5
        albedo = albedo * (1 - rng.uniform(0.05, 0.3) * creases)[..., None]
    if chance(rng, 0.6):
        distance, labels = cells(rng, size, rng.uniform(18, 45))
        radius = np.maximum(rng.uniform(-6, 6, labels.max() + 1), 0).astype(np.float32)[labels]
        chip = np.clip(radius - distance + 0.8 * smooth_noise(rng, size, 4), 0, 1) * (radius > 0)
        albedo = mix(albedo, colour(rng, "dark") if chance(rng, 0.7) else colour(rng, "food"), chip)
        height = height + chip * 1.5
    return Surface(albedo.astype(np.float32), height.astype(np.float32), rng.uniform(0, 0.15), "baked food")


def shell(rng: Rng, size: int) -> Surface:
    """Nut shells, seeds, bark-like skins: fibres along the length, clouds across."""
    lines = warp(rng, fractal_noise(rng, size, rng.uniform(2, 5), 2, stretch=(rng.uniform(4, 20), 1)), 4, 50)
    clouds = fractal_noise(rng, size, rng.uniform(30, 90), 3)
    value = standardise(lines * rng.uniform(0.3, 1) + clouds)
    albedo = ramp(rng, unit(value), colour(rng, "food"), rng.uniform(0.05, 0.14))
    return Surface(albedo, lines * rng.uniform(0.1, 0.6), rng.uniform(0, 0.4), "shell")


def fruit_skin(rng: Rng, size: int) -> Surface:
    base, second = colour(rng, "any"), colour(rng, "any")
    blush = np.clip(fractal_noise(rng, size, rng.uniform(50, 140), 3) * 0.6 + 0.4, 0, 1)
    albedo = mix(np.broadcast_to(base, (size, size, 3)), near(rng, second, 0.1), blush * rng.uniform(0, 0.7))
    dots = np.clip(smooth_noise(rng, size, rng.uniform(1.5, 3)) - 1.8, 0, 1)
    albedo = albedo * (1 + rng.uniform(-0.4, 0.4) * dots)[..., None]
    return Surface(albedo.astype(np.float32), smooth_noise(rng, size, 5) * 0.2, rng.uniform(0, 0.6), "fruit")


def loose_goods(rng: Rng, size: int) -> Surface:
    """Grains, beans, pellets, pebbles heaped to fill the picture."""
    distance, labels = cells(rng, size, log_uniform(rng, 8, 34))
    edge = blur(cell_borders(labels), 1.0)
    count = labels.max() + 1
    base = colour(rng, "food" if chance(rng, 0.5) else "any")
    tones = np.stack([near(rng, base, rng.uniform(0.02, 0.1)) for _ in range(12)])
    albedo = tones[rng.integers(0, 12, count)][labels] * (1 - 0.75 * np.clip(edge * 1.6, 0, 1))[..., None]
    albedo = albedo + (fractal_noise(rng, size, 5, 3) * 0.02)[..., None]
    return Surface(albedo.astype(np.float32), -distance * 0.35, rng.uniform(0, 0.5), "loose goods")


def film(rng: Rng, size: int) -> Surface:
    """Foil or film with soft crumples that shine."""
    crumple = np.abs(fractal_noise(rng, size, rng.uniform(30, 90), 3))
    albedo = np.broadcast_to(colour(rng, "pale" if chance(rng, 0.6) else "any"), (size, size, 3)).copy()
    return Surface(albedo, crumple * rng.uniform(1, 6), rng.uniform(0.3, 1), "foil")


def solar_cell(rng: Rng, size: int) -> Surface:
    """Silicon with fine fingers and wide bus bars; crystals of many greys or blues."""
    _, labels = cells(rng, size, log_uniform(rng, 10, 40))
    base = np.array([0.1, 0.14, 0.3], np.float32) if chance(rng, 0.6) else colour(rng, "grey")
    tone = rng.normal(0, 1, labels.max() + 1).astype(np.float32)[labels]
    albedo = paint(tone, base, rng.uniform(0, 0.25))
    x, y = coordinates(size)
    finger, bus = rng.uniform(5, 14), size / rng.uniform(1.5, 4)
    lines = np.clip(1 - np.abs(y % finger - finger / 2), 0, 1) * 0.6
    bars = np.clip(rng.uniform(2, 5) - np.abs(x % bus - bus / 2), 0, 1)
    albedo = mix(albedo, colour(rng, "metal") + 0.2, np.maximum(lines, bars))
    if chance(rng, 0.5):
        albedo = rotate(albedo, 90.0)
    return Surface(albedo, np.zeros((size, size), np.float32), 0.1, "solar cell")


def speckled(rng: Rng, size: int) -> Surface:
    """Dots everywhere: sprayed paint, spotted laminate, seeds on a crust, mould release on plastic."""
    ground = plastic(rng, size) if chance(rng, 0.5) else paper(rng, size)
    cell = log_uniform(rng, 1.5, 9)
    dots = np.clip((smooth_noise(rng, size, cell) - rng.uniform(0.9, 1.9)) * cell * 0.6, 0, 1)
    tone = near(rng, ground.albedo.mean((0, 1)), rng.uniform(0.08, 0.4))
    return Surface(mix(ground.albedo, tone, dots), ground.height + dots, ground.gloss, "plastic")


def crackled(rng: Rng, size: int) -> Surface:
    """Dry mud, old paint, crackle glaze: a net of cracks that is everywhere."""
    distance, labels = cells(rng, size, log_uniform(rng, 9, 40), jitter=False)
    net = warp(rng, blur(cell_borders(labels), rng.uniform(0.4, 0.9)), 2, 12)
    ground = paint(fractal_noise(rng, size, 30, 4), colour(rng, "any"), rng.uniform(0.02, 0.08))
    albedo = ground * (1 - np.minimum(net * rng.uniform(0.5, 1.3), 0.9))[..., None]
    return Surface(albedo, -net * 2 - distance * rng.uniform(0, 0.05), 0.05, "plaster")
