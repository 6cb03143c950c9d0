"""The paper's augmentation: one image with its mask and sentence in, another out, pure given a generator.

Image and mask always move together. Operations are Pillow's through torchvision, as in the official code, so
that resampling is the same; only the random numbers come from the generator that the caller hands in.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

# A mirrored image makes these words wrong. The official list; `north`, `beside` and the like mirror well.
DIRECTIONS = (
    "left", "right", "leftmost", "rightmost", "clockwise", "counterclockwise", "east", "west",
    "above", "below", "upper", "lower", "top", "bottom",
)  # fmt: skip
_DIRECTION = re.compile(rf"\b({'|'.join(DIRECTIONS)})\b", re.IGNORECASE)

Generator = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """The official code's numbers. Lengths are shares of the image's side, angles degrees."""

    crop_scale: tuple[float, float] = (0.65, 1.0)  # of the image's area
    crop_ratio: tuple[float, float] = (0.85, 1.18)  # width / height
    crop_tries: int = 10
    least_pixels: int = 16
    flip: float = 0.5
    affine: float = 0.3
    rotate: float = 8.0
    shift: float = 0.06
    scale: tuple[float, float] = (0.9, 1.1)
    shear: float = 3.0
    jitter: float = 0.7
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 0.1


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    text: str,
    size: int,
    random: Generator,
    settings: Augmentation = Augmentation(),
) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 H x W x 3 and mask bool H x W -> RGB uint8 size x size x 3 and mask bool size x size.

    A crop that keeps `least_pixels` of the mask, or the whole image squashed when `crop_tries` crops do not;
    a mirror image unless `text` names a direction; a small affine move unless it loses the mask; other colours.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"expected a mask of the image's size {image.shape[:2]}, got {mask.shape}")
    picture, area = Image.fromarray(image), Image.fromarray(mask.astype(np.uint8) * 255)
    picture, area = _cropped(picture, area, size, random, settings)
    if random.random() < settings.flip and not names_direction(text):
        picture, area = F.hflip(picture), F.hflip(area)
    if random.random() < settings.affine:
        picture, area = _moved(picture, area, random, settings)
    if random.random() < settings.jitter:
        picture = _recoloured(picture, random, settings)
    return np.array(picture), np.array(area) > 0


def squash(image: np.ndarray, mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole image and its mask at size x size, nothing random: for validation. Shapes as in `augment`."""
    picture, area = Image.fromarray(image), Image.fromarray(mask.astype(np.uint8) * 255)
    return np.array(_resized(picture, size)), np.array(_resized(area, size)) > 0


def names_direction(text: str) -> bool:
    """Whether a mirror image would make `text` wrong."""
    return _DIRECTION.search(text) is not None


def crop_box(width: int, height: int, random: Generator, settings: Augmentation) -> tuple[int, int, int, int]:
    """Left, top, width, height in pixels of a random crop of random area and aspect.

    When ten draws do not fit in the image: the largest central crop of a permitted aspect.
    """
    for _ in range(10):
        area = width * height * random.uniform(*settings.crop_scale)
        aspect = math.exp(random.uniform(math.log(settings.crop_ratio[0]), math.log(settings.crop_ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(width - w + 1)), int(random.integers(height - h + 1)), w, h
    narrowest, widest = settings.crop_ratio
    w = min(width, round(height * widest))
    h = min(height, round(width / narrowest))
    return (width - w) // 2, (height - h) // 2, w, h


def _cropped(
    picture: Image.Image, area: Image.Image, size: int, random: Generator, settings: Augmentation
) -> tuple[Image.Image, Image.Image]:
    everything = _pixels(area)
    for _ in range(settings.crop_tries):
        left, top, width, height = crop_box(*picture.size, random, settings)
        box = (left, top, left + width, top + height)
        if everything == 0 or _pixels(area.crop(box)) >= settings.least_pixels:
            picture, area = picture.crop(box), area.crop(box)
            break
    return _resized(picture, size), _resized(area, size)


def _moved(
    picture: Image.Image, area: Image.Image, random: Generator, settings: Augmentation
) -> tuple[Image.Image, Image.Image]:
    angle = random.uniform(-settings.rotate, settings.rotate)
    most = int(settings.shift * picture.width)
    shift = random.integers(-most, most + 1, 2).tolist()
    scale = random.uniform(*settings.scale)
    shear = random.uniform(-settings.shear, settings.shear, 2).tolist()
    moved_area = F.affine(area, angle, shift, scale, shear, InterpolationMode.NEAREST, fill=[0])
    if _pixels(moved_area) < settings.least_pixels:
        return picture, area
    moved = F.affine(picture, angle, shift, scale, shear, InterpolationMode.BICUBIC, fill=[0])
    return moved, moved_area


def _recoloured(picture: Image.Image, random: Generator, settings: Augmentation) -> Image.Image:
    changes = [
        (F.adjust_brightness, random.uniform(1 - settings.brightness, 1 + settings.brightness)),
        (F.adjust_contrast, random.uniform(1 - settings.contrast, 1 + settings.contrast)),
        (F.adjust_saturation, random.uniform(1 - settings.saturation, 1 + settings.saturation)),
        (F.adjust_hue, random.uniform(-settings.hue, settings.hue)),
    ]
    for number in random.permutation(len(changes)):  # their order matters, so it is random too
        change, amount = changes[number]
        picture = change(picture, amount)
    return picture


def _resized(picture: Image.Image, size: int) -> Image.Image:
    filtering = Image.Resampling.NEAREST if picture.mode == "L" else Image.Resampling.BICUBIC
    return picture.resize((size, size), filtering)


def _pixels(area: Image.Image) -> int:
    return int(np.count_nonzero(np.asarray(area)))
