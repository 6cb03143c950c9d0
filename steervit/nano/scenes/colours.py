"""Colours: what materials usually look like, and what a person would call a colour."""

import colorsys

import numpy as np

from .fields import Array, Rng, chance, pick

# Ranges of hue, saturation and value (all 0..1) by family of materials; several entries are drawn evenly.
FAMILIES: dict[str, tuple[tuple[tuple[float, float], tuple[float, float], tuple[float, float]], ...]] = {
    "metal": (
        ((0, 1), (0, 0.05), (0.25, 0.8)),
        ((0.5, 0.7), (0, 0.15), (0.3, 0.75)),
        ((0.05, 0.13), (0.1, 0.6), (0.4, 0.8)),
    ),
    "stone": (((0, 1), (0, 0.08), (0.2, 0.85)), ((0.05, 0.15), (0.05, 0.35), (0.3, 0.85))),
    "wood": (((0.05, 0.11), (0.25, 0.7), (0.3, 0.85)),),
    "leather": (
        ((0.03, 0.1), (0.2, 0.7), (0.15, 0.75)),
        ((0, 1), (0, 0.15), (0.08, 0.4)),
        ((0, 1), (0.1, 0.6), (0.2, 0.7)),
    ),
    "food": (((0.06, 0.13), (0.3, 0.7), (0.5, 0.9)), ((0.03, 0.1), (0.4, 0.8), (0.25, 0.6))),
    "grey": (((0, 1), (0, 0.06), (0.1, 0.9)),),
    "pale": (((0, 1), (0, 0.12), (0.7, 0.97)),),
    "dark": (((0, 1), (0, 0.3), (0.02, 0.2)),),
    "any": (
        ((0, 1), (0, 0.9), (0.1, 0.95)),
        ((0, 1), (0.3, 0.9), (0.2, 0.9)),
        ((0, 1), (0, 0.3), (0.1, 0.95)),
    ),
}


def colour(rng: Rng, family: str = "any") -> Array:
    """An RGB colour in 0..1 (3, float32) that materials of this family have."""
    hue, saturation, value = pick(rng, FAMILIES[family])
    return np.array(
        colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)), np.float32
    )


def near(rng: Rng, base: Array, spread: float) -> Array:
    """A colour close to `base`: mostly lighter or darker, a little another hue."""
    shift = rng.normal(0, spread) + rng.normal(0, spread * 0.2, 3)
    return np.clip(base + shift, 0.01, 1).astype(np.float32)


def paint(field: Array, base: Array, contrast: float, tint: Array | None = None) -> Array:
    """Albedo H x W x 3: `base` made lighter and darker by a field of deviation 1."""
    direction = base * 0.7 + 0.15 if tint is None else tint
    albedo = field[..., None] * (contrast * direction).astype(np.float32)
    albedo += base
    return albedo


def ramp(rng: Rng, field: Array, base: Array, spread: float) -> Array:
    """Albedo from a field in 0..1 through three colours near `base`."""
    stops = np.stack([near(rng, base, spread), base, near(rng, base, spread)])
    if chance(rng, 0.3):
        stops[int(rng.integers(3))] = near(rng, base, spread * 2)
    index = np.clip(field * 255, 0, 255).astype(np.uint8)
    steps = np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, [0, 0.5, 1], stops[:, c]) for c in range(3)], -1).astype(np.float32)
    return table[index]


# Upper bounds of hue in degrees; no name in between, where people would disagree.
_HUES: tuple[tuple[int, str | None], ...] = (
    (14, "red"),
    (18, None),
    (42, "orange"),
    (46, None),
    (68, "yellow"),
    (75, None),
    (160, "green"),
    (175, None),
    (195, "cyan"),
    (250, "blue"),
    (258, None),
    (290, "purple"),
    (345, "pink"),
    (361, "red"),
)


def name_colour(rgb: Array) -> str | None:
    """What a person would call this RGB colour (0..1), or None where people would disagree."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in rgb))
    if value < 0.2:
        return "black"
    if saturation < 0.13:
        return "white" if value > 0.85 else "grey" if value < 0.65 else None
    if saturation < 0.3:
        return None
    hue *= 360
    if 15 <= hue < 50 and value < 0.62:
        return "brown"
    return next(name for bound, name in _HUES if hue < bound)
