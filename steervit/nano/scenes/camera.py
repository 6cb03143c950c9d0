"""The camera: everything that happens to an image after the scene, the same for part and defect."""

from dataclasses import dataclass

import cv2
import numpy as np

from .fields import Array, Rng, blur, chance, coordinates, log_uniform, smooth_noise


@dataclass(frozen=True)
class Camera:
    """One camera's settings; lengths in pixels, noise as a share of full scale."""

    gain: float
    offset: float
    gamma: float
    tint: tuple[float, float, float]
    grey: bool
    blur: float
    streak: tuple[float, float]
    zoom: float
    vignette: float
    noise: float
    grain: float
    sharpen: float
    quality: int | None

    def take(self, rng: Rng, image: Array) -> Array:
        """Photograph a float image H x W x 3: RGB uint8 of the same size."""
        image = self.expose(self._darken_corners(image))
        image = self._focus(image)
        image = self._add_noise(rng, image)
        if self.sharpen:
            image = image + self.sharpen * (image - blur(image, 1.2))
        pixels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, -1)
        if self.quality is None:
            return pixels
        _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        return np.ascontiguousarray(decoded[..., ::-1])

    def expose(self, image: Array) -> Array:
        """Brightness and colour as the sensor gets them, clipped where it saturates: H x W x 3, or H x W if grey."""
        if self.grey:
            image = image @ np.array([0.3, 0.59, 0.11], np.float32)
        else:
            image = image * np.array(self.tint, np.float32)
        image = np.clip(image * np.float32(self.gain) + np.float32(self.offset), 0, 1.02)
        return image if self.gamma == 1 else np.power(image, np.float32(self.gamma))

    def _darken_corners(self, image: Array) -> Array:
        if not self.vignette:
            return image
        x, y = coordinates(image.shape[0])
        x, y = x / image.shape[0] - 0.5, y / image.shape[0] - 0.5
        return image * (1 - 2 * self.vignette * (x**2 + y**2))[..., None]

    def _focus(self, image: Array) -> Array:
        if self.streak[0] > 1:
            length, angle = self.streak
            kernel = np.zeros((9, 9), np.float32)
            end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
            start, stop = np.round((4 - end) * 16).astype(int), np.round((4 + end) * 16).astype(int)
            cv2.line(kernel, start.tolist(), stop.tolist(), 1.0, 1, cv2.LINE_8, 4)
            image = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
        if self.blur > 0.25:
            image = blur(image, self.blur)
        if self.zoom < 1:
            height, width = image.shape[:2]
            small = cv2.resize(
                image, (int(width * self.zoom), int(height * self.zoom)), interpolation=cv2.INTER_AREA
            )
            image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        return image

    def _add_noise(self, rng: Rng, image: Array) -> Array:
        if self.noise > 0.001:
            # Shot noise grows with the root of brightness; colour cameras share most of it between channels.
            shape = image.shape if self.grain < 1 else image.shape[:2]
            noise = rng.standard_normal(shape, dtype=np.float32)
            if self.grain > 1:
                noise = smooth_noise(rng, image.shape[0], self.grain)
            noise = noise if noise.ndim == image.ndim else noise[..., None]
            image = image + self.noise * noise * np.sqrt(0.25 + 0.75 * np.clip(image, 0, 1))
        return image


def any_camera(rng: Rng, softness: float = 0.0) -> Camera:
    """A random camera that blurs by `softness` pixels at least."""
    sharp = chance(rng, 0.5)
    return Camera(
        gain=rng.uniform(0.7, 1.3),
        offset=rng.uniform(-0.06, 0.08),
        gamma=rng.uniform(0.75, 1.35) if chance(rng, 0.5) else 1.0,
        tint=tuple(rng.uniform(0.9, 1.1, 3)) if chance(rng, 0.6) else (1.0, 1.0, 1.0),
        grey=chance(rng, 0.35),
        blur=max(softness, rng.uniform(0, 0.6) if sharp else log_uniform(rng, 0.4, 1.4)),
        streak=(rng.uniform(1, 3.5) if chance(rng, 0.1) else 0.0, rng.uniform(0, np.pi)),
        zoom=rng.uniform(0.55, 0.95) if chance(rng, 0.15) else 1.0,
        vignette=rng.uniform(0, 0.6) if chance(rng, 0.4) else 0.0,
        noise=log_uniform(rng, 0.002, 0.04),
        grain=float(rng.choice([0.5, 1.0, rng.uniform(1.2, 2)])),
        sharpen=rng.uniform(0.3, 1.8) if chance(rng, 0.3) else 0.0,
        quality=int(rng.integers(45, 98)) if chance(rng, 0.5) else None,
    )
