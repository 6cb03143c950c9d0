"""Crops of photographs as materials and backgrounds. Reads a folder it is given and nothing else."""

from pathlib import Path

import cv2
import numpy as np

from .fields import Array, Rng, chance, log_uniform
from .surface import Surface

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class PhotoSource:
    """Random crops of the photographs in a folder (searched recursively).

    Raises ValueError when the folder holds no photograph.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.paths = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not self.paths:
            raise ValueError(
                f"expected a folder of photographs ({', '.join(sorted(_SUFFIXES))}), found none in {self.folder}; "
                "give a folder that holds some, or render without photographs"
            )

    def crop(self, rng: Rng, size: int, zoomed: bool = True) -> Array:
        """A square crop, size x size x 3 float32 in 0..1; `zoomed` crops show a piece of one thing, large."""
        for _ in range(5):
            path = self.paths[int(rng.integers(len(self.paths)))]
            photo = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if photo is not None and min(photo.shape[:2]) >= 32:
                return self._cut(rng, photo, size, zoomed)
        raise ValueError(
            f"expected readable photographs of 32 pixels or more, found unreadable ones in {self.folder}"
        )

    def _cut(self, rng: Rng, photo: Array, size: int, zoomed: bool) -> Array:
        height, width = photo.shape[:2]
        short = min(height, width)
        side = int(
            np.clip(short * (log_uniform(rng, 0.25, 0.8) if zoomed else rng.uniform(0.6, 1)), 32, short)
        )
        pieces = []
        for _ in range(4 if zoomed else 1):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            pieces.append(photo[top : top + side, left : left + side, ::-1])
        piece = min(pieces, key=_unevenness)
        piece = np.rot90(piece, int(rng.integers(4)))
        if chance(rng, 0.5):
            piece = piece[:, ::-1]
        method = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        scaled = cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=method)
        return scaled.astype(np.float32) / 255

    def surface(self, rng: Rng, size: int, zoomed: bool = True) -> Surface:
        """A crop as a material: its shading is already in the picture, so it has no height of its own."""
        albedo = self.crop(rng, size, zoomed)
        if chance(rng, 0.4):
            grey = albedo.mean(-1, keepdims=True)
            albedo = grey + (albedo - grey) * rng.uniform(0, 1)
        if chance(rng, 0.4):
            middle = albedo.mean((0, 1))
            albedo = middle + (albedo - middle) * rng.uniform(0.3, 1)
        if chance(rng, 0.3):
            albedo = albedo * rng.uniform(0.6, 1.2, 3).astype(np.float32)
        return Surface(albedo, np.zeros((size, size), np.float32), rng.uniform(0, 0.4), "photograph")


def _unevenness(piece: Array) -> float:
    """How much the parts of a crop differ from each other; low for one material, high for a cluttered view."""
    return float(cv2.resize(piece, (6, 6), interpolation=cv2.INTER_AREA).astype(np.float32).std((0, 1)).sum())
