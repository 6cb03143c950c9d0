"""Light on a surface: shading of slopes, shine, uneven fields, highlights, cast shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from .fields import Array, Rng, blur, chance, coordinates, log_uniform, slopes, smooth_noise
from .surface import Surface


@dataclass
class Light:
    """Where the light comes from, how hard it grazes, and how bright it is over the picture (H x W)."""

    across: float
    down: float
    relief: float
    field: Array

    def shade(self, surface: Surface) -> Array:
        """The surface as it is seen: H x W x 3 float32, not clipped."""
        slope_x, slope_y = slopes(surface.height)
        towards = slope_x * self.across + slope_y * self.down
        diffuse = (1 + self.relief * np.clip(towards, -1.6, 1.6)) * self.field
        image = surface.albedo * diffuse[..., None]
        if surface.gloss > 0.02:
            shine = np.clip(towards - 0.35, 0, 1.2) * (surface.gloss * self.relief * 0.8)
            image += shine[..., None]
        return image


def any_light(rng: Rng, size: int) -> Light:
    angle = rng.uniform(0, 2 * np.pi)
    relief = rng.uniform(0.08, 0.6)
    return Light(float(np.cos(angle)), float(np.sin(angle)), relief, brightness(rng, size))


def brightness(rng: Rng, size: int) -> Array:
    """Gradients, a curved face's bright band, hot spots: uneven light is normal."""
    x, y = coordinates(size)
    x, y = x / size - 0.5, y / size - 0.5
    field = np.ones((size, size), np.float32)
    if chance(rng, 0.6):
        field += rng.normal(0, 0.25) * x + rng.normal(0, 0.25) * y
    if chance(rng, 0.3):
        # A cylinder's face: bright and dark bands along one axis.
        across = x if chance(rng, 0.6) else y
        band = np.cos((across - rng.uniform(-0.4, 0.4)) * rng.uniform(2, 7))
        field += rng.uniform(0.1, 0.5) * band
    if chance(rng, 0.35):
        field += rng.uniform(0.03, 0.15) * smooth_noise(rng, size, size / rng.uniform(2, 5))
    if chance(rng, 0.25):
        centre, width = rng.uniform(-0.5, 0.5, 2), log_uniform(rng, 0.1, 0.5)
        spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / width**2)
        field += rng.uniform(0.1, 0.6) * spot
    return np.maximum(field, 0.12).astype(np.float32)


def highlights(rng: Rng, alpha: Array, count: int) -> Array:
    """Soft-edged reflections of lamps and windows on a glossy part, H x W in 0..1."""
    size = alpha.shape[0]
    shine = np.zeros((size, size), np.uint8)
    for _ in range(count):
        centre = tuple(int(v) for v in rng.uniform(0.2, 0.8, 2) * size)
        axes = (int(size * log_uniform(rng, 0.01, 0.15)) + 1, int(size * log_uniform(rng, 0.005, 0.05)) + 1)
        if chance(rng, 0.3):
            corners = cv2.boxPoints((centre, (axes[0] * 2.0, axes[1] * 2.0), float(rng.uniform(0, 180))))
            cv2.fillPoly(shine, [corners.astype(np.int32)], 255, cv2.LINE_AA)
        else:
            cv2.ellipse(shine, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    return blur(shine.astype(np.float32) / 255, rng.uniform(0.8, 5)) * alpha * rng.uniform(0.2, 0.9)


def cast_shadow(rng: Rng, alpha: Array, light: Light) -> Array:
    """Shadow of what covers `alpha`, to multiply what lies behind with."""
    length = rng.uniform(0, 0.03) * alpha.shape[0]
    shift = np.array([[1, 0, light.across * length], [0, 1, light.down * length]], np.float32)
    moved = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
    return 1 - rng.uniform(0.1, 0.7) * np.clip(blur(moved, rng.uniform(1.5, 9)), 0, 1)
