"""Random crops and colours of the training pictures of a memory, as open-hummingbird draws them, by a seed of our own.

A crop of half to twice the area, sides 3/4 to 4/3 of each other, where one fits within ten tries (torchvision's
`RandomResizedCrop`); brightness, contrast, saturation and hue each changed by up to a tenth in every second picture.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image

AREA, RATIO, TRIES = (0.5, 2.0), (3 / 4, 4 / 3), 10
CHANGE, OFTEN = 0.1, 0.5


@dataclass(frozen=True)
class Crop:
    """Part of a picture in px: left, top, right, bottom."""

    box: tuple[int, int, int, int]

    @classmethod
    def drawn(cls, size_wh: tuple[int, int], seed: str) -> Crop:
        """A crop of a picture of this width and height; the same for the same seed."""
        draw, (width, height) = random.Random(seed), size_wh
        for _ in range(TRIES):
            area = width * height * draw.uniform(*AREA)
            ratio = math.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = draw.randint(0, width - w), draw.randint(0, height - h)
                return cls((left, top, left + w, top + h))
        return cls.centred(size_wh)

    @classmethod
    def centred(cls, size_wh: tuple[int, int]) -> Crop:
        """The largest one in the middle whose ratio is allowed."""
        width, height = size_wh
        w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return cls((left, top, left + w, top + h))


def jittered(image: Image.Image, seed: str) -> Image.Image:
    """The picture, RGB, with some of its colours changed; the same for the same seed."""
    from torchvision.transforms import functional

    draw = random.Random(f"colours {seed}")
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for change in changes:
        if draw.random() < OFTEN:
            image = change(image, draw.uniform(1 - CHANGE, 1 + CHANGE))
    if draw.random() < OFTEN:
        image = functional.adjust_hue(image, draw.uniform(-CHANGE, CHANGE))
    return image
