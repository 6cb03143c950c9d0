"""ADE20k as it is unpacked: pictures, masks of class numbers, names. Letters: S image side in px."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image
from anomaly.runs.stamps import stamp_of
from anomaly.steerability.memory_crops import Crop, jittered

CLASSES = 151  # 150, and 0 for whatever is none of them
COUNTS = {"training": 20210, "validation": 2000}
NAMES = "objectInfo150.txt"


@dataclass(frozen=True)
class Scene:
    """A picture and its mask of class numbers, both squashed to S px; where a seed is given, cropped and jittered."""

    image: Path
    mask: Path
    side: int
    seed: int | None = None

    @property
    def key(self) -> str:
        """Follows from both files' sizes and times of change, and from how they are read."""
        about = (self.image.name, stamp_of(self.image), stamp_of(self.mask), self.side, self.seed)
        return hashlib.sha256(repr(about).encode()).hexdigest()

    def read(self) -> Image.Image:
        """RGB (S, S)."""
        image = Image.fromarray(read_image(self.image))
        if (crop := self._crop(image.size)) is None:
            return image.resize((self.side, self.side), Image.Resampling.BILINEAR)
        cut = image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=crop.box)
        return jittered(cut, f"{self.seed} {self.image.name}")

    def labels(self) -> np.ndarray:
        """Class numbers uint8 (S, S). Raises `SteerAnomalyError` for a mask that is not one of class numbers."""
        mask = read_mask(self.mask)
        crop = self._crop(mask.size)
        box = crop.box if crop else None
        return np.asarray(mask.resize((self.side, self.side), Image.Resampling.NEAREST, box=box))

    def _crop(self, size_wh: tuple[int, int]) -> Crop | None:
        return None if self.seed is None else Crop.drawn(size_wh, f"{self.seed} {self.image.name}")


@dataclass(frozen=True)
class Scenes:
    """Training and validation pictures, and what classes 1 to 150 are called."""

    training: tuple[tuple[Path, Path], ...]
    validation: tuple[tuple[Path, Path], ...]
    names: tuple[str, ...]


def load(root: Path) -> Scenes:
    """`images` and `annotations` with `training` and `validation`, and `objectInfo150.txt`, as unpacked.

    Raises `SteerAnomalyError` where one of them is missing.
    """
    place = next((p for p in (root, root / "ADEChallengeData2016") if (p / "images/training").is_dir()), None)
    if place is None:
        raise SteerAnomalyError(f"expected images/training in {root} or {root / 'ADEChallengeData2016'}")
    return Scenes(_pairs(place, "training"), _pairs(place, "validation"), _names(place / NAMES))


def gaps(scenes: Scenes) -> list[str]:
    """How this differs in size from the published benchmark, a sentence each; none for the whole of it."""
    counts = {"training": len(scenes.training), "validation": len(scenes.validation)}
    return [
        f"expected {wanted} {part} pictures, found {counts[part]}"
        for part, wanted in COUNTS.items()
        if counts[part] != wanted
    ]


def _pairs(place: Path, part: str) -> tuple[tuple[Path, Path], ...]:
    images = sorted((place / "images" / part).glob("*.jpg"))
    masks = [place / "annotations" / part / f"{path.stem}.png" for path in images]
    if not images or (missing := next((path for path in masks if not path.is_file()), None)):
        what = missing if images else place / "images" / part / "*.jpg"
        raise SteerAnomalyError(
            f"{what}: not found; expected ADE20k as unpacked from ADEChallengeData2016.zip"
        )
    return tuple(zip(images, masks, strict=True))


def _names(path: Path) -> tuple[str, ...]:
    """The first name of each class; the file's columns are Idx, Ratio, Train, Val, Stuff, Name, by tabs."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        names = [line.split("\t")[-1].split(",")[0].strip() for line in lines if line.strip()]
    except OSError as error:
        raise SteerAnomalyError(
            f"{path}: {error.strerror or error}; it is in ADEChallengeData2016.zip"
        ) from error
    if len(names) != CLASSES - 1 or not all(names):
        raise SteerAnomalyError(
            f"{path}: expected {CLASSES - 1} classes after a line of titles, found {len(names)}"
        )
    return tuple(names)


def read_mask(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            numbers = np.array(image)
    except OSError as error:
        raise SteerAnomalyError(f"{path}: expected a mask, it cannot be read ({error})") from error
    if numbers.ndim != 2 or numbers.dtype != np.uint8 or ((numbers >= CLASSES) & (numbers != 255)).any():
        raise SteerAnomalyError(f"{path}: expected class numbers 0 to 150 (or 255) in a grey PNG, got others")
    return Image.fromarray(numbers)
