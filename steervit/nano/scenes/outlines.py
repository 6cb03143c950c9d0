"""Outlines of parts as polygons in units of the part's radius, and drawing them with soft edges."""

import cv2
import numpy as np

from .fields import Array, Rng, pick


def circle(radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0), points: int = 72) -> Array:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], -1)


def regular(sides: int, radius: float = 1.0, turn: float = 0.0) -> Array:
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + turn
    return radius * np.stack([np.cos(angle), np.sin(angle)], -1)


def box(width: float, height: float, corner: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Rectangle of half sizes (width, height) with rounded corners of radius `corner`."""
    corner = min(corner, width, height)
    quarter = np.linspace(0, np.pi / 2, 8 if corner > 0 else 1)
    arc = np.stack([np.cos(quarter), np.sin(quarter)], -1) * corner
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [width - corner, height - corner]
    return np.concatenate([arc @ turn.T + at for turn, at in zip(turns, corners, strict=True)]) + centre


def blob(rng: Rng, roughness: float, squash: float = 1.0, points: int = 120) -> Array:
    """A round natural outline: low harmonics for the shape, higher ones for a crumbly edge."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    radius = np.ones(points)
    for harmonic in range(2, 14):
        strength = roughness * rng.normal(0, 1) / harmonic**1.1
        radius += strength * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.4, None) / radius.max()
    return np.stack([radius * np.cos(angle), squash * radius * np.sin(angle)], -1)


def gear(teeth: int, depth: float, width: float) -> Array:
    """Teeth of relative `width` (0..1) cut `depth` into the unit circle."""
    points = []
    for tooth in range(teeth):
        for offset, radius in ((0.0, 1 - depth), (0.12, 1.0), (width, 1.0), (width + 0.12, 1 - depth)):
            angle = 2 * np.pi * (tooth + offset) / teeth
            points.append((radius * np.cos(angle), radius * np.sin(angle)))
    return np.array(points)


def bracket(rng: Rng) -> Array:
    """L, T, U or cross profile."""
    t = rng.uniform(0.25, 0.5)
    profiles = (
        [(-1, -1), (-1 + t, -1), (-1 + t, 1 - t), (1, 1 - t), (1, 1), (-1, 1)],
        [
            (-1, -1),
            (1, -1),
            (1, -1 + t),
            (t / 2, -1 + t),
            (t / 2, 1),
            (-t / 2, 1),
            (-t / 2, -1 + t),
            (-1, -1 + t),
        ],
        [(-1, -1), (-1 + t, -1), (-1 + t, 1 - t), (1 - t, 1 - t), (1 - t, -1), (1, -1), (1, 1), (-1, 1)],
        [
            (-t, -1),
            (t, -1),
            (t, -t),
            (1, -t),
            (1, t),
            (t, t),
            (t, 1),
            (-t, 1),
            (-t, t),
            (-1, t),
            (-1, -t),
            (-t, -t),
        ],
    )
    return np.array(pick(rng, profiles)) * 0.8


def bottle(rng: Rng) -> Array:
    """A bottle, flask or vial lying on its side, drawn as half profile and mirror image."""
    body, neck = rng.uniform(0.22, 0.45), rng.uniform(0.08, 0.16)
    shoulder, throat = rng.uniform(-0.3, 0.2), rng.uniform(0.02, 0.25)
    half = [(-1, body * 0.9), (-0.95, body), (shoulder, body), (shoulder + throat, neck * 1.1)]
    half += [(0.8, neck), (0.8, neck * 1.3), (1, neck * 1.3)]
    upper = np.array(half)
    return np.concatenate([upper, upper[::-1] * [1, -1]])


def screw(rng: Rng) -> Array:
    """Head, threaded shank and tip, seen from the side."""
    head, length, shank = rng.uniform(0.28, 0.42), rng.uniform(0.15, 0.35), rng.uniform(0.1, 0.18)
    turns = int(rng.integers(8, 22))
    start = -1 + length + rng.uniform(0.05, 0.5)
    x = np.linspace(start, 0.9, 2 * turns)
    teeth = np.where(np.arange(2 * turns) % 2 == 0, shank, shank * 1.3)
    upper = np.concatenate(
        [
            [(-1, head * 0.6), (-1 + length * 0.4, head), (-1 + length, shank)],
            np.stack([x, teeth], -1),
            [(1, 0.02)],
        ]
    )
    return np.concatenate([upper, upper[::-1] * [1, -1]])


def turned(points: Array, angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def draw(size: int, outline: Array, scale: float, centre: tuple[float, float] | None = None) -> Array:
    """Fill an outline: alpha H x W float32 in 0..1. `scale` is pixels per unit; the centre is the image's."""
    centre = (size / 2, size / 2) if centre is None else centre
    pixels = np.round((outline * scale + np.asarray(centre)) * 16).astype(np.int32)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255
