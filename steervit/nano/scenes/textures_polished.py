"""Metal that shines: polished sheet with a room in it, lapped faces, rolled strip. Bright places are normal."""

import cv2
import numpy as np

from .colours import colour, paint
from .fields import (
    Array,
    Rng,
    blur,
    chance,
    coordinates,
    fractal_noise,
    log_uniform,
    pick,
    rotate,
    smooth_noise,
    standardise,
)
from .surface import Surface


def polished(rng: Rng, size: int) -> Surface:
    """Polished sheet: lamps and dark corners of a room reflected in it, bent by its waves, and faint wiping marks."""
    room = reflected_room(rng, size)
    wiped = fractal_noise(rng, size, rng.uniform(1.5, 4), 2, stretch=(rng.uniform(5, 60), 1))
    wiped = rotate(wiped, rng.uniform(0, 180), 1.42)
    albedo = paint(wiped, colour(rng, "metal"), rng.uniform(0.003, 0.04))
    albedo = albedo * (1 + rng.uniform(0.1, 0.6) * room)[..., None]
    return Surface(np.maximum(albedo, 0.01), wiped * rng.uniform(0, 0.1), rng.uniform(0.4, 1), "metal")


def reflected_room(rng: Rng, size: int) -> Array:
    """Bands of light and dark as a wavy mirror shows lamps and window frames: H x W in about -1..1."""
    x, y = coordinates(size)
    turn = pick(rng, (0.0, 0.5 * np.pi, rng.uniform(0, np.pi)))
    waves = smooth_noise(rng, size, size / rng.uniform(1.2, 7)) * log_uniform(rng, 0.005, 0.15)
    along = (x * np.cos(turn) + y * np.sin(turn)) / size + waves
    room = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        width = log_uniform(rng, 0.01, 0.4)
        edge = width * rng.uniform(0.1, 1.2)
        away = np.abs(along - rng.uniform(-0.2, 1.2))
        room += rng.uniform(-1, 1) * np.clip((width - away) / edge + 0.5, 0, 1)
    return np.clip(blur(room, rng.uniform(0.5, 4)), -1.2, 1.2).astype(np.float32)


def lapped(rng: Rng, size: int) -> Surface:
    """Ground or lapped with a turning tool: overlapping arcs of fine marks, in one or two directions."""
    x, y = coordinates(size)
    value = 0.4 * smooth_noise(rng, size, rng.uniform(1, 2))
    for _ in range(int(rng.integers(1, 3))):
        reach = size * log_uniform(rng, 0.6, 6)
        turn = rng.uniform(0, 2 * np.pi)
        away = np.hypot(x - size / 2 - reach * np.cos(turn), y - size / 2 - reach * np.sin(turn))
        marks = rng.standard_normal(4 * size).astype(np.float32)
        marks = standardise(cv2.GaussianBlur(marks[:, None], (1, 9), log_uniform(rng, 0.6, 2)))[:, 0]
        fade = 0.7 + 0.3 * smooth_noise(rng, size, size / 6)
        value = value + marks[((away - away.min()) * 1.5).astype(np.intp) % len(marks)] * fade
    value = standardise(value.astype(np.float32))
    albedo = paint(value, colour(rng, "metal"), rng.uniform(0.02, 0.12))
    albedo = albedo * (1 + rng.uniform(0, 0.3) * reflected_room(rng, size))[..., None]
    return Surface(
        np.maximum(albedo, 0.01), value * rng.uniform(0, 0.2), rng.uniform(0.2, 0.7), "turned metal"
    )


def strip(rng: Rng, size: int) -> Surface:
    """Rolled strip under a lamp: streaks of scale along it, a glaring band, grain; the good one is uneven too."""
    streaks = fractal_noise(rng, size, rng.uniform(1.5, 8), 2, stretch=(rng.uniform(10, 120), 1))
    scale = np.clip(
        fractal_noise(rng, size, rng.uniform(4, 20), 3, stretch=(rng.uniform(4, 30), 1)) - 1, 0, 2
    )
    grain = smooth_noise(rng, size, rng.uniform(1, 2.5))
    value = standardise(
        streaks * rng.uniform(0.2, 1) + grain * rng.uniform(0.2, 1) - scale * rng.uniform(0, 1)
    )
    value = rotate(value, pick(rng, (0.0, 90.0, rng.uniform(0, 180))), 1.42)
    albedo = paint(value, colour(rng, "grey"), rng.uniform(0.02, 0.12))
    if chance(rng, 0.6):
        albedo = albedo * (1 + rng.uniform(0.1, 0.5) * reflected_room(rng, size))[..., None]
    return Surface(np.maximum(albedo, 0.01), value * rng.uniform(0, 0.2), rng.uniform(0.1, 0.5), "steel")
