"""Pictures with areas exchanged: a photograph or a good scene, and places of it that are of another stuff.

Where `scene.py` paints what a defect does to a surface, this pastes, moves, tones, rubs and cuts what is there
(after DRAEM's noise masks, arXiv 2108.07610, and CutPaste, 2104.04015). Areas may be as large as two fifths.
"""

import numpy as np

from .camera import any_camera
from .defects import Mark
from .fields import Array, Rng, blur, chance, coordinates, fractal_noise, log_uniform, mix, pick, smooth_noise
from .marks import Spot, blot, path, stroke
from .photos import PhotoSource
from .scene import Scene, render_scene
from .vocabulary import surface_name

GOOD_SHARE = 0.3
LINE_SHARE = 0.5
SMALLEST = 60  # pixels of an area; lines may be as few as 20
LARGEST = 0.42  # share of the image
SEEN = 0.035  # mean change of the strongest channel from which people see an area
_TRIES = 4


def patched_scene(rng: Rng, size: int, photos: PhotoSource | None = None) -> Scene:
    """A scene of `size` x `size` pixels: a crop of a photograph, or a good rendered scene (always, without `photos`),
    with up to three areas or lines in it; three in ten have none. Raises ValueError as `render_scene`."""
    if photos is not None and chance(rng, 0.6):
        image, name = photos.crop(rng, size, chance(rng, 0.7)), surface_name(rng, "photograph")
        layers = {"object": np.ones((size, size), bool)}
    else:
        good = render_scene(rng, size, photos, kinds=[])
        image, name, layers = good.image.astype(np.float32) / 255, good.object_name, dict(good.layers)
    image = _paler(rng, image)
    marks: list[Mark] = []
    if not chance(rng, GOOD_SHARE):
        for _ in range(int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))):
            image = _one_area(rng, image, layers, marks, photos)
    camera = any_camera(rng, softness=0.5)
    return Scene(camera.take(rng, image), name, layers, marks, "patched")


def _paler(rng: Rng, image: Array) -> Array:
    """Often grey, often of little contrast: parts seldom are as colourful as groceries."""
    if chance(rng, 0.5):
        grey = image.mean(-1, keepdims=True)
        image = grey + (image - grey) * rng.uniform(0, 0.6)
    if chance(rng, 0.5):
        middle = image.mean((0, 1))
        image = middle + (image - middle) * rng.uniform(0.25, 1)
    return np.clip(image, 0, 1).astype(np.float32)


def _one_area(
    rng: Rng, image: Array, layers: dict[str, Array], marks: list[Mark], photos: PhotoSource | None
) -> Array:
    """The image with one more area, entered into `layers` and `marks`; as it was, if none could be seen."""
    for _ in range(_TRIES):
        thin = chance(rng, LINE_SHARE)
        area = (_line(rng, image.shape[0]) if thin else _area(rng, image.shape[0])) * layers["object"]
        mask = area > (0.2 if thin else 0.3)
        if mask.sum() < (20 if thin else SMALLEST) or mask.mean() > LARGEST:
            continue
        kind, new = _cut(rng, image, area) if thin else _exchanged(rng, image, area, photos)
        if np.abs(new - image).max(-1)[mask].mean() < SEEN * (2.0 if thin else 1.0):
            continue
        layers[kind] = layers.get(kind, np.zeros_like(mask)) | mask
        marks.append(Mark(kind, mask))
        return new
    return image


def _area(rng: Rng, size: int) -> Array:
    """A blot of any size, a band or corner of the image with a wavy border, or islands of noise; 0..1."""
    how = rng.random()
    if how < 0.55:
        spot = Spot(float(rng.uniform(0, size)), float(rng.uniform(0, size)), size)
        radius = size * log_uniform(rng, 0.03, 0.35)
        return blot(rng, size, spot, radius, soft=1 + radius * pick(rng, (0.0, 0.1, 0.5)))
    if how < 0.8:
        x, y = coordinates(size)
        turn = pick(rng, (0.0, 0.5 * np.pi, rng.uniform(0, np.pi)))
        field = (x * np.cos(turn) + y * np.sin(turn)) / size * pick(rng, (-1, 1))
        field = field + fractal_noise(rng, size, size * rng.uniform(0.1, 0.5), 3) * rng.uniform(0.01, 0.1)
    else:
        field = fractal_noise(rng, size, size * rng.uniform(0.1, 0.6), 2)
    low = float(np.quantile(field, 1 - log_uniform(rng, 0.04, LARGEST)))
    width = float(field.std()) * pick(rng, (0.02, 0.1, 0.4))
    return np.clip((field - low) / width + 0.5, 0, 1).astype(np.float32)


def _exchanged(rng: Rng, image: Array, area: Array, photos: PhotoSource | None) -> tuple[str, Array]:
    """What the area is now, by its name among the kinds of defects, and the image with it."""
    size, alpha = image.shape[0], area * rng.uniform(0.5, 1)
    how = rng.random()
    if how < 0.2 and photos is not None:
        return "foreign patch", mix(image, photos.crop(rng, size), alpha)
    if how < 0.35:
        moved = np.roll(image, tuple(rng.integers(size // 6, size - size // 6, 2)), (0, 1))
        return "foreign patch", mix(image, np.rot90(moved, int(rng.integers(4))), alpha)
    if how < 0.6:
        tone = 1 + pick(rng, (-1, 1)) * log_uniform(rng, 0.08, 0.6)
        return "discolouration", np.clip(image * (1 + (tone - 1) * area[..., None]), 0, 1)
    if how < 0.75:
        tint = rng.uniform(0.3, 1.1, 3).astype(np.float32)
        return "stain", mix(image, image * tint, alpha)
    if how < 0.88:
        return "smear", mix(image, blur(image, rng.uniform(2, 9)), area)
    coarse = smooth_noise(rng, size, log_uniform(rng, 1, 6)) * rng.uniform(0.04, 0.2)
    return "rough patch", np.clip(image + (coarse * area)[..., None], 0, 1)


def _line(rng: Rng, size: int) -> Array:
    """One to three wandering lines of 0.6 to 4 pixels' width, 0..1."""
    drawn = np.zeros((size, size), np.float32)
    x, y = rng.uniform(0.1, 0.9, 2) * size
    for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
        length, wander = size * log_uniform(rng, 0.08, 0.9), pick(rng, (0.02, 0.2, 0.45))
        width = log_uniform(rng, 0.6, 4)
        drawn = np.maximum(drawn, stroke(size, path(rng, x, y, length, wander), width, chance(rng, 0.5)))
    return blur(drawn, rng.uniform(0.3, 0.9))


def _cut(rng: Rng, image: Array, area: Array) -> tuple[str, Array]:
    """The lines, three times in four darker than what they cross."""
    dark = chance(rng, 0.75)
    tone = image * rng.uniform(0.15, 0.85) if dark else image + (1 - image) * rng.uniform(0.15, 0.8)
    return "crack" if dark else "scratch", mix(image, tone.astype(np.float32), area)
