"""Fabric, mesh, carpet and other made sheets: woven, knitted, felted, perforated, ribbed."""

import cv2
import numpy as np

from .colours import colour, near, paint
from .fields import (
    Rng,
    blur,
    chance,
    coordinates,
    fractal_noise,
    log_uniform,
    mix,
    pick,
    rotate,
    smooth_noise,
    standardise,
    warp,
)
from .surface import Surface


def _turned(rng: Rng, surface: Surface, bend: float) -> Surface:
    """The sheet as it lies: turned (often square to the picture) and slightly bent."""
    degrees = rng.choice([0.0, 90.0, rng.uniform(0, 180)])
    both = np.dstack([surface.albedo, surface.height])
    if degrees:
        both = rotate(both, degrees, 1.42)
    if bend > 0.3:
        both = warp(rng, both, bend, rng.uniform(30, 120))
    height = np.ascontiguousarray(both[..., 3])
    return Surface(np.ascontiguousarray(both[..., :3]), height, surface.gloss, surface.name)


def woven(rng: Rng, size: int) -> Surface:
    """Warp over weft in a plain or twill weave of two yarns."""
    pitch = log_uniform(rng, 3, 16)
    x, y = coordinates(size)
    column, row = np.floor(x / pitch), np.floor(y / pitch)
    twill = int(rng.integers(2, 5))
    over = ((column + row) % twill == 0) if twill > 2 else ((column + row) % 2 == 0)
    across, down = np.abs(np.sin(np.pi * x / pitch)), np.abs(np.sin(np.pi * y / pitch))
    height = np.where(over, across, down * 0.85).astype(np.float32)
    first = colour(rng, "any")
    second = first if chance(rng, 0.5) else near(rng, first, 0.2)
    albedo = np.where(over[..., None], first, second) * (0.55 + 0.45 * height[..., None])
    fuzz = fractal_noise(rng, size, 3, 2) * rng.uniform(0.01, 0.06)
    surface = Surface((albedo + fuzz[..., None]).astype(np.float32), height * pitch * 0.15, 0.02, "fabric")
    return _turned(rng, surface, rng.uniform(0, 1.5))


def knitted(rng: Rng, size: int) -> Surface:
    pitch = log_uniform(rng, 5, 20)
    x, y = coordinates(size)
    column = x / pitch
    lean = np.where(np.floor(column) % 2 == 0, 1, -1) * (column % 1 - 0.5) * 2
    loop = np.abs(np.sin(np.pi * (y / (pitch * 0.8) + lean * 0.5)))
    seam = np.abs(np.sin(np.pi * column))
    height = (loop * seam).astype(np.float32)
    albedo = (
        colour(rng, "any") * (0.5 + 0.5 * height[..., None])
        + fractal_noise(rng, size, 2, 1)[..., None] * 0.02
    )
    return _turned(
        rng, Surface(albedo.astype(np.float32), height * pitch * 0.2, 0, "knitwear"), rng.uniform(0, 3)
    )


def patterned(rng: Rng, size: int) -> Surface:
    """A small random motif repeated: printed cloth, wallpaper, braid."""
    pitch = int(rng.integers(6, 40))
    cell = max(1.5, pitch / rng.uniform(2, 5))
    seamless = np.tile(rng.standard_normal((pitch, pitch), dtype=np.float32), (3, 3))
    motif = standardise(cv2.GaussianBlur(seamless, (0, 0), cell / 2)[pitch : 2 * pitch, pitch : 2 * pitch])
    if chance(rng, 0.5):
        motif = np.tanh(motif * 3)
    repeats = size // pitch + 2
    value = np.tile(motif, (repeats, repeats))[:size, :size]
    base, ink = colour(rng, "any"), colour(rng, "any")
    albedo = mix(
        np.broadcast_to(base, (size, size, 3)), ink, np.clip(value * 0.5 + 0.5, 0, 1) * rng.uniform(0.2, 1)
    )
    albedo = albedo + fractal_noise(rng, size, 2, 2)[..., None] * 0.015
    return _turned(
        rng, Surface(albedo.astype(np.float32), value * 0.3, 0.03, "patterned cloth"), rng.uniform(0, 2)
    )


def mesh(rng: Rng, size: int) -> Surface:
    """Bars or wires over a background: grids, grilles, sieves."""
    pitch = log_uniform(rng, 9, 40)
    x, y = coordinates(size)
    bar = rng.uniform(0.12, 0.4)
    shape = pick(rng, ["square", "diamond", "round"])
    if shape == "round":
        shifted = x + (np.floor(y / pitch) % 2) * pitch / 2
        hole = np.hypot((shifted % pitch) - pitch / 2, (y % pitch) - pitch / 2)
        alpha = np.clip(hole - pitch * (0.5 - bar / 2), 0, 1)
        height = alpha
    else:
        near_x = np.abs((x % pitch) - pitch / 2)
        near_y = np.abs((y % pitch) - pitch * 0.5)
        wire = np.minimum(near_x, near_y)
        alpha = np.clip(pitch * bar / 2 - wire + 0.5, 0, 1)
        height = np.sqrt(np.clip(1 - (wire / (pitch * bar / 2 + 0.5)) ** 2, 0, 1)) * pitch * bar * 0.4
    bars = paint(fractal_noise(rng, size, 6, 2), colour(rng, "metal" if chance(rng, 0.7) else "any"), 0.04)
    below = paint(fractal_noise(rng, size, 60, 2), colour(rng, "dark" if chance(rng, 0.6) else "any"), 0.05)
    surface = Surface(mix(below, bars, alpha.astype(np.float32)), height.astype(np.float32), 0.3, "mesh")
    surface = _turned(rng, surface, rng.uniform(0, 1.5))
    if shape == "diamond":
        both = rotate(np.dstack([surface.albedo, surface.height]), 45, 1.42)
        surface = Surface(
            np.ascontiguousarray(both[..., :3]), np.ascontiguousarray(both[..., 3]), 0.3, "mesh"
        )
    return surface


def carpet(rng: Rng, size: int) -> Surface:
    pile = smooth_noise(rng, size, rng.uniform(1, 2.5)) + smooth_noise(rng, size, rng.uniform(3, 6)) * 0.6
    base = colour(rng, "any")
    albedo = paint(standardise(pile), base, rng.uniform(0.1, 0.35))
    if chance(rng, 0.4):
        flecks = np.clip(smooth_noise(rng, size, rng.uniform(1.5, 3)) - 1.2, 0, 1)
        albedo = mix(albedo, colour(rng, "any"), flecks)
    return Surface(albedo.astype(np.float32), pile * 0.5, 0, "carpet")


def felt(rng: Rng, size: int) -> Surface:
    """Fibres in every direction."""
    fibres = np.zeros((size, size), np.float32)
    for _ in range(3):
        fibres += rotate(smooth_noise(rng, size, 1.5, (rng.uniform(6, 14), 1)), rng.uniform(0, 180), 1.42)
    albedo = paint(standardise(fibres), colour(rng, "any"), rng.uniform(0.05, 0.2))
    return Surface(albedo, fibres * 0.2, 0, "felt")


def ribbed(rng: Rng, size: int) -> Surface:
    """Corduroy, corrugated board, grooved rubber, threads seen from the side."""
    pitch = log_uniform(rng, 5, 36)
    x, _ = coordinates(size)
    ridge = np.abs(np.sin(np.pi * x / pitch)).astype(np.float32) ** rng.uniform(0.4, 3)
    base = colour(rng, "any")
    grain = fractal_noise(rng, size, 2.5, 2) * rng.uniform(0, 0.05)
    albedo = base * (rng.uniform(0.5, 1) + 0.4 * ridge[..., None]) + grain[..., None]
    surface = Surface(
        albedo.astype(np.float32), ridge * pitch * rng.uniform(0.05, 0.2), rng.uniform(0, 0.4), "ribbed sheet"
    )
    return _turned(rng, surface, rng.uniform(0, 1))


def fleece(rng: Rng, size: int) -> Surface:
    curl = warp(rng, fractal_noise(rng, size, rng.uniform(4, 12), 3, 0.7), 3, 8)
    return Surface(paint(curl, colour(rng, "any"), rng.uniform(0.04, 0.12)), blur(curl, 0.7), 0, "fleece")
