"""The photographs that came in, as files, and what is drawn of them for the page. Knows no verdicts and no requests."""

from __future__ import annotations

import io
import secrets
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.encode import to_image, to_jpeg, to_png
from anomaly.pictures.images import ImageError, read_image, size_hw
from anomaly.pictures.overlay import ColorScale, blend, heat_layer, shrink
from steervit.files import write_whole

FOLDER = "photographs"
HEAT_SIDE, EVIDENCE_SIDE = 256, 96  # px
SIDES = {"small": 480, "large": 1600}  # px of the longer side of what the page shows


class UnusablePhoto(SteerAnomalyError):
    """Bytes that are no picture that can be judged, with a `code` for programs; says nothing of where they lie."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Photographs:
    """Files below `folder`, of at most `pixels` each; called by a path within it that means nothing."""

    def __init__(self, folder: Path, pixels: int) -> None:
        self._folder, self._pixels = folder / FOLDER, pixels

    def keep(self, data: bytes) -> tuple[str, np.ndarray]:
        """Keep a file as it came; its path, and what it shows as RGB uint8 H x W x 3. Raises `UnusablePhoto`."""
        name = f"{date.today().isoformat()}/{secrets.token_hex(12)}"
        path = self._folder / name
        write_whole(path, data)
        try:
            return name, self._read(path)
        except UnusablePhoto:
            path.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> np.ndarray:
        """What a file shows. Raises `UnusablePhoto` for one that is gone."""
        return self._read(self._folder / name)

    def remove_all_but(self, needed: set[str]) -> None:
        """Delete what a process that was killed left behind: files that nobody needs."""
        for path in self._folder.glob("*/*"):
            if path.relative_to(self._folder).as_posix() not in needed:
                path.unlink(missing_ok=True)

    def remove(self, names: list[str]) -> None:
        """Delete files; those that are gone already do not matter."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _read(self, path: Path) -> np.ndarray:
        try:
            height, width = size_hw(path)
            if height * width > self._pixels:  # before a pixel is decoded
                raise UnusablePhoto(
                    "too-many-pixels", f"expected a picture of at most {self._pixels // 10**6} million pixels, got "
                    f"{width} x {height}; send a smaller one, or let the service take more with --max-pixels",
                )  # fmt: skip
            return read_image(path)
        except ImageError as error:
            reason = error.reason.replace(str(path), "it").replace(path.name, "it")
            raise UnusablePhoto(
                "not-a-picture", f"expected a picture (JPEG, PNG, TIFF, ...), got none: {reason}"
            ) from error


def levels_png(heatmap: np.ndarray, scale: ColorScale) -> bytes:
    """A heatmap as levels of its colour scale, small, as PNG."""
    return to_png(scale.levels(shrink(heatmap, HEAT_SIDE)))


def layer_webp(levels: bytes) -> bytes:
    """What `levels_png` gave as a transparent layer to lay over the photograph."""
    return to_image(".webp", heat_layer(_grey(levels)), cv2.IMWRITE_WEBP_QUALITY, 80)


def packed(parts: dict[str, np.ndarray]) -> bytes:
    """Maps of evidence, small, as bytes; `unpacked` takes them back."""
    buffer = io.BytesIO()
    small: dict[str, Any] = {
        name: shrink(one, EVIDENCE_SIDE).astype(np.float16) for name, one in parts.items()
    }
    np.savez_compressed(buffer, **small)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `packed`, float32."""
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return {name: found[name].astype(np.float32) for name in found.files}


def evidence_jpeg(photo: np.ndarray, part: np.ndarray, scale: ColorScale) -> bytes:
    """One map of evidence over the photograph."""
    small = shrink(photo, SIDES["small"])
    heat = cv2.resize(part, small.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return to_jpeg(blend(small, scale.levels(heat)), 82)


def photo_jpeg(photo: np.ndarray, side: str) -> bytes:
    """The photograph at one of `SIDES`."""
    return to_jpeg(shrink(photo, SIDES[side]), 85)


def _grey(png: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert found is not None  # we wrote it
    return found
