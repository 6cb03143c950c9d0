"""Random scalar fields and small image operations that textures, parts and defects are made of.

All fields are float32, H x W, and come from the generator alone. Knows no material and no defect.
"""

import cv2
import numpy as np

Rng = np.random.Generator
Array = np.ndarray


def smooth_noise(rng: Rng, size: int, cell: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Noise whose features are about `cell` pixels wide, stretched by (down, across); mean 0, deviation 1."""
    down = int(np.clip(size / (cell * stretch[0]) + 2, 2, size))
    across = int(np.clip(size / (cell * stretch[1]) + 2, 2, size))
    coarse = rng.standard_normal((down, across), dtype=np.float32)
    if (down, across) == (size, size):
        return coarse
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def fractal_noise(
    rng: Rng, size: int, cell: float, octaves: int = 4, fall: float = 0.55, stretch: tuple = (1.0, 1.0)
) -> Array:
    """Sum of `octaves` noises, each half as wide and `fall` as strong; mean 0, deviation 1."""
    field = np.zeros((size, size), np.float32)
    strength = 1.0
    for _ in range(octaves):
        field += strength * smooth_noise(rng, size, cell, stretch)
        strength *= fall
        cell /= 2
        if cell < 1:
            break
    return standardise(field)


def standardise(field: Array) -> Array:
    mean, deviation = cv2.meanStdDev(field)
    return (field - float(mean[0, 0])) * (1 / (float(deviation[0, 0]) + 1e-6))


def unit(field: Array) -> Array:
    """Rescale to [0, 1]."""
    low, high, _, _ = cv2.minMaxLoc(field)
    return (field - low) / (high - low + 1e-6)


def blur(field: Array, sigma: float) -> Array:
    """Gaussian blur; wide ones run at a lower resolution, which nobody can see and is much faster."""
    if sigma < 0.2:
        return field
    if sigma <= 5:
        return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    height, width = field.shape[:2]
    factor = min(sigma / 2.5, min(height, width) / 4)
    small = cv2.resize(
        field, (max(2, int(width / factor)), max(2, int(height / factor))), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def coordinates(size: int) -> tuple[Array, Array]:
    """Pixel coordinates x and y, each H x W float32."""
    line = np.arange(size, dtype=np.float32)
    return np.tile(line, (size, 1)), np.repeat(line[:, None], size, 1)


def cells(rng: Rng, size: int, cell: float, jitter: bool = True) -> tuple[Array, Array]:
    """Voronoi cells about `cell` pixels wide: distance to the cell's seed in pixels, and cell number from 0."""
    count = max(4, int((size / cell) ** 2))
    seeds = np.full((size, size), 255, np.uint8)
    if jitter:
        # One seed per square of a grid: more even than uniform seeds, as grains and pebbles are.
        side = max(2, round(count**0.5))
        grid = (np.indices((side, side)).reshape(2, -1).T + rng.random((side * side, 2))) * size / side
        points = np.clip(grid, 0, size - 1).astype(np.intp)
    else:
        points = rng.integers(0, size, (count, 2))
    seeds[points[:, 0], points[:, 1]] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance, labels - 1


def cell_borders(labels: Array) -> Array:
    """1 where a cell meets the next one to the right or below, else 0."""
    borders = np.zeros(labels.shape, np.float32)
    borders[:, :-1] = labels[:, 1:] != labels[:, :-1]
    borders[:-1] = np.maximum(borders[:-1], labels[1:] != labels[:-1])
    return borders


def rotate(field: Array, degrees: float, zoom: float = 1.0) -> Array:
    """Rotate about the centre, mirrored outside."""
    height, width = field.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    return cv2.warpAffine(
        field, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def displace(image: Array, shift_x: Array, shift_y: Array) -> Array:
    """Sample `image` at (x + shift_x, y + shift_y), mirrored outside."""
    x, y = coordinates(image.shape[0])
    x, y = (x + shift_x).astype(np.float32), (y + shift_y).astype(np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def warp(rng: Rng, image: Array, amount: float, cell: float) -> Array:
    """Bend the image by a smooth random displacement of about `amount` pixels."""
    size = image.shape[0]
    return displace(image, amount * smooth_noise(rng, size, cell), amount * smooth_noise(rng, size, cell))


def mix(below: Array, above: Array, alpha: Array) -> Array:
    """`above` over `below` by alpha (H x W); either may be an image, a field or a colour."""
    if below.ndim == 3:
        alpha = alpha[..., None]
    mixed = above - below
    mixed *= alpha
    mixed += below
    return mixed


def strongest(image: Array) -> Array:
    """The largest of three channels (faster than a reduction over so short an axis)."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def slopes(height: Array) -> tuple[Array, Array]:
    """Slope of a height field across and down, per pixel."""
    return (
        cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125),
        cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125),
    )


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: Rng, probability: float) -> bool:
    return bool(rng.random() < probability)


def pick(rng: Rng, choices):
    """One of a sequence, evenly."""
    return choices[int(rng.integers(len(choices)))]


def bevel(mask: Array, width: float) -> Array:
    """Rounded rise from 0 at the mask's edge to 1, `width` pixels inside."""
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    rise = np.clip(inside / max(width, 1e-3), 0, 1)
    # The distance transform has rays on round outlines; blurring hides them.
    return blur(np.sqrt(rise * (2 - rise)), 1.0)
