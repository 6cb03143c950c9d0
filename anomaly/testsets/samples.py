"""One labelled test image, and how its mask is read. Knows files and pixels, nothing of models or metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.suffixes import is_image_name


@dataclass(frozen=True)
class Sample:
    """One test image.

    `masks` are united when there are several (MVTec LOCO); empty means no defect pixels when `defective` is
    False, and "only the image's label is known" when it is True. `defective` None means that the label is
    secret (private test sets). `key` names the image's files in every output: `test/<defect>/<stem>`, as
    MVTec's evaluation code expects of anomaly maps.
    """

    image: Path
    masks: tuple[Path, ...]
    defective: bool | None
    defect: str
    key: str


def images_in(folder: Path) -> list[Path]:
    """Image files directly in `folder`, by name, without hidden ones; empty when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if is_image(p))


def is_image(path: Path) -> bool:
    """Whether the name is that of an image we read; hidden files (`._x.png`) are not."""
    return is_image_name(path.name) and path.is_file()


def with_distinct_keys(samples: Iterable[Sample]) -> list[Sample]:
    """The samples, with the file suffix added to keys that two images would share (`a.png`, `a.jpg`)."""
    from collections import Counter
    from dataclasses import replace

    samples = list(samples)
    count = Counter(s.key for s in samples)
    return [replace(s, key=s.key + s.image.suffix) if count[s.key] > 1 else s for s in samples]


def missing_files(samples: Iterable[Sample]) -> list[Path]:
    """Images and masks that should be there and are not."""
    return [p for s in samples for p in (s.image, *s.masks) if not p.is_file()]


def require_files(samples: Iterable[Sample]) -> None:
    """Raises `SteerAnomalyError` naming the first image or mask that is missing, and how many are."""
    if missing := missing_files(samples):
        raise SteerAnomalyError(
            f"{missing[0]}: not found ({len(missing)} such file{'s' if len(missing) > 1 else ''}). "
            "Every defective image needs its mask: add it, or remove the image. "
            "`steer-anomaly datasets check` lists them all"
        )


def read_mask(sample: Sample, size_hw: tuple[int, int]) -> np.ndarray | None:
    """The defect mask of `sample`, bool H x W, or None when only the image's label is known.

    Any value but 0 is defect (above 127 in a JPEG, whose zeros are not exact). Raises `SteerAnomalyError`
    naming the file when it cannot be read, differs in size from the image, or is black though the image
    counts as defective.
    """
    if sample.defective is None or (sample.defective and not sample.masks):
        return None
    union = np.zeros(size_hw, dtype=bool)
    for path in sample.masks:
        union |= _sized(path, size_hw, sample.image)
    if sample.defective and not union.any():
        raise SteerAnomalyError(
            f"{sample.masks[0]}: the mask of a defective image ({sample.image}) is all black. "
            "Draw the defect, or move the image to the good ones and delete the mask"
        )
    return union


def image_size_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as `anomaly.pictures.images.read_image` gives it, from the file's head alone.

    Raises `SteerAnomalyError` when it is no image, or larger than what is read.
    """
    from anomaly.pictures.images import size_hw

    return size_hw(path)


def mask_pixels(path: Path) -> np.ndarray:
    """One mask file as bool H x W. Raises `SteerAnomalyError` when it is not a readable image."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise SteerAnomalyError(
            f"{path}: cannot read the mask ({error.strerror}); restore the file"
        ) from error
    pixels = _decoded(path, data) if data.size else None
    if pixels is None:
        raise SteerAnomalyError(f"{path}: expected a mask image, found a damaged or empty file; restore it")
    if pixels.ndim == 3:
        pixels = pixels[..., :3].max(axis=2)  # an alpha channel says nothing of defects
    return pixels > (127 if path.suffix.lower() in (".jpg", ".jpeg") else 0)


def _decoded(path: Path, data: np.ndarray) -> np.ndarray | None:
    import cv2

    if path.suffix.lower() == ".gif":  # OpenCV reads GIFs in some of its versions only
        from anomaly.pictures.images import read_image

        return read_image(path)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def _sized(path: Path, size_hw: tuple[int, int], image: Path) -> np.ndarray:
    mask = mask_pixels(path)
    if mask.shape != size_hw:
        larger = "larger than" if mask.size > size_hw[0] * size_hw[1] else "not the size of"
        raise SteerAnomalyError(
            f"{path}: the mask ({mask.shape[1]} x {mask.shape[0]} px) is {larger} its image {image} "
            f"({size_hw[1]} x {size_hw[0]} px). Masks must have their image's size: export it again, unscaled"
        )
    return mask
