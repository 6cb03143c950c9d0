"""The forms in which data sets keep a mask, each decoded only when it is needed.

Every form is a small value with `decode(size_hw)`, and packs into bytes so that millions fit in one table.
Knows nothing of images or sentences. Coordinates are pixels of the stored image, x to the right, y down.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

# Characters of five bits each, 48 and up; a sixth bit says that the number goes on, which the last one must not.
COMPRESSED = re.compile(r"(?:[P-o]*[0-O])*")


class MaskError(ValueError):
    """A mask that cannot be decoded, or does not fit its image; the message says why."""


class Mask(Protocol):
    """What a record holds for its mask."""

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        """The mask, bool H x W, for an image of that height and width. Raises `MaskError`."""
        ...

    def pack(self) -> bytes:
        """The mask as bytes that `unpack` reads."""
        ...


@dataclass(frozen=True)
class Rle:
    """COCO run lengths down the columns: `counts` is the compressed string or the plain list of run lengths."""

    size_hw: tuple[int, int]
    counts: str | tuple[int, ...]

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        if tuple(size_hw) != tuple(self.size_hw):
            raise MaskError(
                f"the mask is for an image of {_size(self.size_hw)}, the image has {_size(size_hw)}"
            )
        height, width = self.size_hw
        compressed = self._compressed()
        mask = _decoded(compressed, height, width)
        # What the runs do not reach, pycocotools leaves as it found it in memory. They reach the last pixel when
        # there is one too many of them for a mask that lacks it.
        if mask is None or _decoded(compressed, height * width - 1, 1) is not None:
            raise MaskError(f"its run lengths do not make {height * width} pixels")
        return mask

    def _compressed(self) -> bytes:
        if isinstance(self.counts, str):
            if not COMPRESSED.fullmatch(self.counts):
                raise MaskError(f"its compressed run lengths are damaged: {self.counts[:40]!r}")
            return self.counts.encode()
        height, width = self.size_hw
        if sum(self.counts) != height * width or min(self.counts, default=0) < 0:
            raise MaskError(f"its run lengths make {sum(self.counts)} pixels, expected {height * width}")
        from pycocotools import mask as coco

        plain = {"size": [height, width], "counts": list(self.counts)}
        return coco.frPyObjects(plain, height, width)["counts"]

    def pack(self) -> bytes:
        return b"r" + json.dumps([self.size_hw, self.counts]).encode()


@dataclass(frozen=True)
class Polygons:
    """The union of polygons, each a flat list x0, y0, x1, y1, ... of at least three points."""

    parts: tuple[tuple[float, ...], ...]

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        from pycocotools import mask as coco

        parts = [list(part) for part in self.parts if len(part) >= 6]  # less is a line, which covers nothing
        if not parts:
            return np.zeros(size_hw, bool)
        union = coco.merge(coco.frPyObjects(parts, *size_hw))
        return Rle(size_hw, union["counts"].decode()).decode(size_hw)

    def pack(self) -> bytes:
        return b"p" + json.dumps(self.parts).encode()


@dataclass(frozen=True)
class Box:
    """A filled box: left, top, width, height. The pixels whose centre it holds, so never between two of them."""

    x: float
    y: float
    width: float
    height: float

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(size_hw, bool)
        left, top, right, bottom = (max(round(edge), 0) for edge in self.xyxy)
        mask[top:bottom, left:right] = True
        return mask

    def pack(self) -> bytes:
        return b"b" + json.dumps([self.x, self.y, self.width, self.height]).encode()


@dataclass(frozen=True)
class Segments:
    """The pixels of a panoptic PNG (id = R + 256 G + 65536 B) that carry one of `ids`."""

    png: Path
    ids: tuple[int, ...]

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        colours = np.ascontiguousarray(_open(self.png, "RGBA"))  # four bytes, so that they are one number
        codes = colours.view("<u4")[..., 0] & 0xFFFFFF
        return _fitting(np.isin(codes, np.array(self.ids, np.uint32)), size_hw)

    def pack(self) -> bytes:
        return b"s" + json.dumps([str(self.png), self.ids]).encode()


@dataclass(frozen=True)
class Png:
    """An encoded image (PNG, as the hub's `Image` columns hold) that is bright where the mask is."""

    data: bytes

    def decode(self, size_hw: tuple[int, int]) -> np.ndarray:
        return _fitting(_open(io.BytesIO(self.data), "L") > 127, size_hw)

    def pack(self) -> bytes:
        return b"i" + self.data


def unpack(data: bytes) -> Mask:
    """The mask that `pack` wrote. Raises `MaskError` for other bytes."""
    kind, rest = data[:1], data[1:]
    if kind == b"i":
        return Png(rest)
    try:
        value = json.loads(rest)
    except ValueError as error:
        raise MaskError(f"expected a packed mask, got {data[:20]!r}") from error
    if kind == b"r":
        counts = value[1] if isinstance(value[1], str) else tuple(value[1])
        return Rle((value[0][0], value[0][1]), counts)
    if kind == b"p":
        return Polygons(tuple(map(tuple, value)))
    if kind == b"b":
        return Box(*value)
    if kind == b"s":
        return Segments(Path(value[0]), tuple(value[1]))
    raise MaskError(f"expected a packed mask, got one of the unknown kind {kind!r}")


def from_coco(segmentation: Any) -> Mask:
    """A COCO `segmentation`: a list of polygons, or run lengths (`size`, `counts`). Raises `MaskError`."""
    if isinstance(segmentation, list):
        return Polygons(tuple(map(tuple, segmentation)))
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        height, width = segmentation["size"]
        counts = segmentation["counts"]
        if isinstance(counts, bytes):
            counts = counts.decode()
        return Rle((int(height), int(width)), counts if isinstance(counts, str) else tuple(counts))
    raise MaskError(f"expected polygons or run lengths as COCO writes them, got {str(segmentation)[:60]!r}")


def _decoded(compressed: bytes, height: int, width: int) -> np.ndarray | None:
    """The mask, bool H x W, or None when its runs go beyond so many pixels."""
    from pycocotools import mask as coco

    with warnings.catch_warnings(
        action="ignore", category=DeprecationWarning
    ):  # of NumPy 2, on its own array
        try:
            mask = coco.decode({"size": [height, width], "counts": compressed})
        except ValueError:
            return None
    return np.ascontiguousarray(mask.astype(bool))


def encode(mask: np.ndarray) -> Rle:
    """A bool H x W mask as compressed COCO run lengths."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return Rle((mask.shape[0], mask.shape[1]), rle["counts"].decode())


def box_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (the last two exclusive) of the pixels in a bool H x W mask; None when empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _open(file: Path | io.BytesIO, mode: str) -> np.ndarray:
    from PIL import Image

    name = file if isinstance(file, Path) else "the mask's image"
    try:
        with Image.open(file, formats=("PNG", "TIFF", "WEBP", "JPEG")) as image:
            return np.asarray(image.convert(mode))
    except Exception as error:  # Pillow reports damage in a dozen ways
        raise MaskError(f"cannot read {name} ({error})") from error


def _fitting(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    if mask.shape != tuple(size_hw):
        raise MaskError(f"the mask is for an image of {_size(mask.shape)}, the image has {_size(size_hw)}")
    return mask


def _size(size_hw: Sequence[int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]} pixels"
