"""MOSAIC: does the CLS token look at what the text names, in four pictures put together (paper section 4)?

The paper's list of 363 mosaics is not published. 363 is the 1,449 pictures of PASCAL VOC 2012's segmentation
validation list by fours, rounded up, so ours are those, shuffled by a seed; the last mosaic is filled up from the
first pictures. Figures are therefore near the paper's, not the same. Letters: S side in px, h x w patches.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image
from anomaly.steerability.picture import Picture
from anomaly.steerability.steered import Steered

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
VOID = 255
PICTURES, SEED = 1449, 0
PLACE = "ImageSets/Segmentation/val.txt"


@dataclass(frozen=True)
class Mosaic:
    """Four pictures, row by row, each with its mask of class numbers (0 background, 255 void)."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def picture(self, side: int) -> Picture:
        """The mosaic as RGB (S, S), each picture squashed to a quarter; its key follows from files and `side`."""
        contents = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in self.images)
        return Picture(hashlib.sha256(contents + str(side).encode()).hexdigest(), lambda: self._image(side))

    def labels(self, side: int) -> np.ndarray:
        """Class numbers uint8 (S, S). Raises `SteerAnomalyError` for a mask that is not one of class numbers."""
        return np.asarray(_together([_mask(path) for path in self.masks], side, Image.Resampling.NEAREST))

    def _image(self, side: int) -> Image.Image:
        images = [Image.fromarray(read_image(path)) for path in self.images]
        return _together(images, side, Image.Resampling.BICUBIC)


def load(root: Path, seed: int = SEED) -> list[Mosaic]:
    """The mosaics of the `VOC2012` folder in `root`, `root/VOCdevkit/VOC2012` or `root` itself.

    Raises `SteerAnomalyError` when the validation list or one of its files is missing.
    """
    found = (p for p in (root, root / "VOC2012", root / "VOCdevkit/VOC2012") if (p / PLACE).is_file())
    place = next(found, None)
    if place is None:
        raise SteerAnomalyError(
            f"expected PASCAL VOC's {PLACE} in {root}, {root / 'VOCdevkit/VOC2012'}: found none"
        )
    names = (place / PLACE).read_text(encoding="utf-8").split()
    if len(names) < 4:
        raise SteerAnomalyError(f"{place / PLACE}: expected four pictures and more, found {len(names)}")
    names = sorted(names)
    random.Random(seed).shuffle(names)
    names += names[: -len(names) % 4]
    mosaics = []
    for start in range(0, len(names), 4):
        four = names[start : start + 4]
        images = tuple(place / "JPEGImages" / f"{name}.jpg" for name in four)
        masks = tuple(place / "SegmentationClass" / f"{name}.png" for name in four)
        mosaics.append(Mosaic(images, masks))
    for path in (path for one in mosaics for path in (*one.images, *one.masks)):
        if not path.is_file():
            raise SteerAnomalyError(f"{path}: not found; it is in the list {PLACE}")
    return mosaics


def evaluate(
    mosaics: Sequence[Mosaic],
    steered: Steered,
    template: str | None = "the {object}",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """PR-AUC (average precision over pixels, void left out) of CLS attention, one query per class in a mosaic.

    The global figure is the mean over queries. The attention map, bilinear to the side S, is compared with all pixels
    of the class in all four pictures. `template` None encodes without text.
    """
    from sklearn.metrics import average_precision_score

    side = steered.encoder.image_size[0] // 2 * 2
    labels = [one.labels(side) for one in mosaics]
    pictures = [one.picture(side) for one in mosaics]
    every: list[float] = []
    per_class: dict[str, Any] = {}
    for number, name in enumerate(CLASSES, 1):
        there = [i for i, label in enumerate(labels) if (label == number).any()]
        if not there:
            continue
        prompt = None if template is None else template.replace("{object}", name)
        maps = steered.attention([pictures[i] for i in there], prompt)
        found = []
        for i, one in zip(there, maps, strict=True):
            known = labels[i] != VOID
            found.append(
                float(average_precision_score((labels[i] == number)[known], _enlarged(one, side)[known]))
            )
        per_class[name] = {"pr_auc": float(np.mean(found)), "queries": len(found), "prompt": prompt}
        progress(f"{name}: PR-AUC {per_class[name]['pr_auc']:.4f} ({len(found)} queries)")
        every += found
    if not every:
        raise SteerAnomalyError("expected masks with classes 1 to 20, found none: nothing can be measured")
    total = {"pr_auc": float(np.mean(every)), "queries": len(every), "mosaics": len(mosaics)}
    return {"global": total, "per_class": per_class}


def problems(root: Path) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: layout, counts, masks, damaged pictures."""
    try:
        mosaics = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    found = gaps(mosaics)
    for one in mosaics:
        try:
            one.picture(64).read()
            one.labels(64)
        except SteerAnomalyError as error:
            found.append(str(error))
    return found


def gaps(mosaics: Sequence[Mosaic]) -> list[str]:
    """How this differs in size from the published benchmark, a sentence each; none for the whole of it."""
    count = len({path for one in mosaics for path in one.images})
    return [] if count == PICTURES else [f"expected {PICTURES} pictures in {PLACE}, found {count}"]


def _together(four: Sequence[Image.Image], side: int, resample: Image.Resampling) -> Image.Image:
    whole, half = Image.new(four[0].mode, (side, side)), side // 2
    for i, one in enumerate(four):
        whole.paste(one.resize((half, half), resample), (i % 2 * half, i // 2 * half))
    return whole


def _mask(path: Path) -> Image.Image:
    """The numbers of a palette image: not its colours, which `read_image` would give."""
    try:
        with Image.open(path) as image:
            numbers = np.array(image)
    except OSError as error:
        raise SteerAnomalyError(f"{path}: expected a mask, it cannot be read ({error})") from error
    if numbers.ndim != 2 or numbers.dtype != np.uint8 or ((numbers > len(CLASSES)) & (numbers != VOID)).any():
        raise SteerAnomalyError(
            f"{path}: expected class numbers 0 to 20 and 255 in a palette PNG, got others"
        )
    return Image.fromarray(numbers)


def _enlarged(one: np.ndarray, side: int) -> np.ndarray:
    import torch.nn.functional as F
    from torch import from_numpy

    maps = from_numpy(np.ascontiguousarray(one))[None, None]
    return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)[0, 0].numpy()
