"""The region of interest: which pixels of a picture count. Outside nothing is scored and nothing outlined.

Knows no model. A mask belongs to pictures of its own aspect; a box to pixels of the picture as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.foreground import part_of
from anomaly.pictures.images import as_rgb, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

AUTO = "auto"
SAME_ASPECT = 0.01  # relative: sides rounded to whole pixels are no other aspect
USUAL = 0.5  # share of the good pictures that show the part where it is usually
SHARES = 2.0  # times smaller or larger than any good part: that is not it
NAMES = {
    "mask": "roi",
    "ignored": "ignore",
    "usual": "usual_part",
    "shares": "part_shares",
}  # of arrays in a profile


class NoRoi(SteerAnomalyError):
    """A picture in which the region of interest cannot be found; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Roi:
    """All pixels, those in `box` (x, y, width, height), those in `mask`, or with `auto` the part; never the `ignored`.

    Masks are bool H x W. `usual` (bool, any size) is where the part was in half of the good pictures, and `shares` the
    least and the greatest part of a picture that it filled (0..1), once they were learned.
    """

    box: tuple[int, int, int, int] | None = None
    mask: np.ndarray | None = None
    auto: bool = False
    ignored: np.ndarray | None = None
    usual: np.ndarray | None = None
    shares: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        roi: str | Path | Sequence[int] | np.ndarray | Image | Roi | None = None,
        ignore: str | Path | np.ndarray | Image | None = None,
    ) -> Roi:
        """From what users give: `auto`, a box "x,y,w,h" or four numbers, or a mask as a picture, white inside.

        Raises `SteerAnomalyError` for anything else, and for masks without a white pixel.
        """
        if isinstance(roi, Roi):
            return roi
        ignored = None if ignore is None else _mask(ignore, "ignore")
        if roi is None or (isinstance(roi, str) and roi == AUTO):
            return cls(auto=roi is not None, ignored=ignored)
        numbers = roi.split(",") if isinstance(roi, str) and not Path(roi).exists() else roi
        if isinstance(numbers, Sequence) and not isinstance(numbers, str) and len(numbers) > 1:
            return cls(box=_box(numbers), ignored=ignored)
        return cls(mask=_mask(roi, "roi"), ignored=ignored)  # type: ignore[arg-type]

    @property
    def name(self) -> str | None:
        """What is inside, for the settings: every two that differ have two names. None for all pixels."""
        if self.box is not None:
            return ",".join(map(str, self.box))
        if self.mask is not None:
            return _named(self.mask)
        learned = f", learned: {_named(self.usual)}" if self.usual is not None else ""
        return AUTO + learned if self.auto else None

    @property
    def ignored_name(self) -> str | None:
        """What is ignored, for the settings. None for nothing."""
        return None if self.ignored is None else _named(self.ignored)

    def seen(self, image: np.ndarray) -> np.ndarray | None:
        """What `inside` needs to have seen of the picture, RGB uint8; None where that is nothing."""
        return part_of(image) if self.auto else None

    def learned(self, parts: Sequence[np.ndarray | None]) -> Roi:
        """With where the part is in good pictures, `seen` of each. Where most show no even background: all pixels."""
        found = [one for one in parts if one is not None]
        if not self.auto or not parts:
            return self
        if 2 * len(found) < len(parts):
            return replace(self, usual=np.ones((1, 1), bool), shares=np.array([1.0, 1.0]))
        size = found[0].shape[1::-1]
        alike = [cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_AREA) for one in found]
        shares = [float(one.mean()) for one in found]
        return replace(self, usual=np.mean(alike, 0) >= USUAL, shares=np.array([min(shares), max(shares)]))

    def inside(self, size_hw: tuple[int, int], seen: np.ndarray | None = None) -> np.ndarray | None:
        """The pixels that count of a picture of this size, bool H x W, not empty; None for all of them.

        `seen` as of `seen` for this picture. Raises `NoRoi` for a box or a mask that is not of such pictures.
        """
        found = self._chosen(size_hw, seen)
        if self.ignored is None:
            return found
        kept = ~_scaled(self.ignored, size_hw, "ignored mask")
        found = kept if found is None else found & kept
        if not found.any():
            raise NoRoi("expected pixels to judge, got none: all of the region of interest is ignored")
        return found

    def _chosen(self, size_hw: tuple[int, int], seen: np.ndarray | None) -> np.ndarray | None:
        if self.box is not None:
            return _in_box(self.box, size_hw)
        if self.mask is not None:
            return _scaled(self.mask, size_hw, "mask of interest")
        if not self.auto or seen is None or not self._plausible(seen):
            return None
        part = seen
        if self.usual is not None:
            size = part.shape[1::-1]
            part = part | (cv2.resize(self.usual.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)
        return _resized(part, size_hw)

    def _plausible(self, seen: np.ndarray) -> bool:
        if self.shares is None:
            return True
        least, most = self.shares
        return bool(least / SHARES <= seen.mean() <= most * SHARES)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a name does not say, by the names of a profile's arrays; `of_arrays` takes them back."""
        values = {NAMES[name]: getattr(self, name) for name in NAMES}
        return {
            name: one.astype(np.uint8) if one.dtype == bool else one
            for name, one in values.items()
            if one is not None
        }

    @classmethod
    def of_arrays(cls, name: str | None, arrays: Mapping[str, np.ndarray]) -> Roi:
        """The inverse of `name` and `to_arrays`. Raises `SteerAnomalyError` for what they did not give."""
        kept = {ours: arrays[theirs] for ours, theirs in NAMES.items() if theirs in arrays}
        kept |= {ours: one > 0 for ours, one in kept.items() if ours != "shares"}
        if any(one.ndim != (1 if ours == "shares" else 2) or not one.size for ours, one in kept.items()):
            raise SteerAnomalyError(
                "expected masks of the region of interest, got other arrays; calibrate again"
            )
        auto = name is not None and name.split(",")[0] == AUTO
        box = _box(name.split(",")) if name and not auto and "mask" not in kept else None
        return cls(box=box, auto=auto, **kept)


def filled(heatmap: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    """The heatmap with what is outside at the lowest value inside, so that nothing there is ever outlined."""
    if inside is None:
        return heatmap
    return np.where(inside, heatmap, heatmap[inside].min()).astype(heatmap.dtype, copy=False)


def smaller(inside: np.ndarray | None, size_hw: tuple[int, int]) -> np.ndarray | None:
    """At the size of a coarser map: cells of which a half counts, or where there are none, those that count most."""
    if inside is None:
        return None
    share = cv2.resize(inside.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    return share >= min(0.5, float(share.max()))


def _box(numbers: Sequence[object]) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(one) for one in numbers)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        x = y = width = height = -1
    if min(x, y) < 0 or min(width, height) < 1:
        raise SteerAnomalyError(
            f"expected a region of interest x,y,width,height in pixels, such as 120,40,600,600, a picture of a mask, "
            f"or auto, got {','.join(map(str, numbers))}"
        )
    return x, y, width, height


def _in_box(box: tuple[int, int, int, int], size_hw: tuple[int, int]) -> np.ndarray:
    x, y, width, height = box
    if x + width > size_hw[1] or y + height > size_hw[0]:
        raise NoRoi(
            f"expected a picture that holds the region of interest, x {x} to {x + width} and y {y} to {y + height}, "
            f"got one of {size_hw[1]} x {size_hw[0]} pixels: give a region for pictures of this size"
        )
    inside = np.zeros(size_hw, bool)
    inside[y : y + height, x : x + width] = True
    return inside


def _mask(given: str | Path | np.ndarray | Image, option: str) -> np.ndarray:
    if isinstance(given, str | Path):
        if not Path(given).is_file():
            raise SteerAnomalyError(
                f"expected a picture of a mask for --{option}{', x,y,width,height, or auto' * (option == 'roi')}; "
                f"there is no file {given}"
            )
        given = read_image(Path(given))
    if isinstance(given, np.ndarray) and given.dtype == bool:
        given = given.astype(np.uint8) * 255
    image = as_rgb(given)
    mask = image.max(-1) > 127
    if not mask.any():
        raise SteerAnomalyError(f"expected a mask for --{option} with white pixels, got one without any")
    return mask


def _scaled(mask: np.ndarray, size_hw: tuple[int, int], what: str) -> np.ndarray:
    if mask.shape == size_hw:
        return mask
    aspect, wanted = mask.shape[1] / mask.shape[0], size_hw[1] / size_hw[0]
    if abs(aspect / wanted - 1) > SAME_ASPECT:
        raise NoRoi(
            f"expected a picture of the {what}'s aspect, {mask.shape[1]} x {mask.shape[0]}, got {size_hw[1]} x "
            f"{size_hw[0]} pixels: draw a mask for pictures of this shape"
        )
    return _resized(mask, size_hw)


def _resized(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    way = cv2.INTER_AREA if mask.shape[0] > size_hw[0] else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=way) >= 0.5


def _named(mask: np.ndarray) -> str:
    digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16]
    return f"mask {mask.shape[1]} x {mask.shape[0]} {digest}"
