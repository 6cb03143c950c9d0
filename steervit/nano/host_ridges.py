"""`ridges` on a processor, by NumPy and OpenCV: what torch and every runtime without it call. Imports no torch.

Letters: H x W pixels, K pixels of a kernel's side, S pixels of a transform's side.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

ORIENTATIONS = 12
# Width (standard deviation across) and length (along) in pixels of a copy `shrunk` times smaller.
LINES = ((1.2, 6.0, 2), (1.25, 4.0, 4), (1.8, 7.0, 4))
RIDGES = 2 * len(LINES)


@functools.cache
def kernels(width: float, length: float, radius: int) -> np.ndarray:
    """(orientations, K, K): second derivative of a Gaussian across a line, a Gaussian along it; unit norm."""
    offsets = np.arange(-radius, radius + 1, dtype=np.float32)
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    angles = (np.arange(ORIENTATIONS) * (math.pi / ORIENTATIONS)).astype(np.float32)[:, None, None]
    along, across = x * np.cos(angles) + y * np.sin(angles), y * np.cos(angles) - x * np.sin(angles)
    profile = np.square(across / width)
    made = np.exp(-0.5 * (np.square(along / length) + profile)) * (profile - 1)
    made = made - made.mean((1, 2), keepdims=True)  # an even area has no lines
    return made / np.sqrt(np.square(made).sum((1, 2), keepdims=True))


def host_ridges(grey: np.ndarray) -> np.ndarray:
    """A grey image (H, W) float32, H and W multiples of 4 -> (6, H, W): dark, then bright lines, of each width.

    See `ridges.ridges`.
    """
    height, breadth = grey.shape
    found = np.empty((RIDGES, height, breadth), np.float32)
    for i, (width, length, shrunk) in enumerate(LINES):
        small = cv2.resize(grey, (breadth // shrunk, height // shrunk), interpolation=cv2.INTER_AREA)
        highest, lowest = _extremes(small, width, length)
        found[i] = cv2.resize(highest, (breadth, height), interpolation=cv2.INTER_LINEAR)
        found[i + len(LINES)] = cv2.resize(-lowest, (breadth, height), interpolation=cv2.INTER_LINEAR)
    return found


def _extremes(small: np.ndarray, width: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Highest and lowest response over all orientations, each (H, W)."""
    height, breadth = small.shape
    radius = min(int(2 * length), min(height, breadth) - 1)
    padded = cv2.copyMakeBorder(small, radius, radius, radius, radius, cv2.BORDER_REFLECT_101)
    padded -= padded.mean()  # smaller numbers, smaller rounding errors
    size = (_smooth(padded.shape[0]), _smooth(padded.shape[1]))
    more = (size[0] - padded.shape[0], size[1] - padded.shape[1])
    spectrum = cv2.dft(cv2.copyMakeBorder(padded, 0, more[0], 0, more[1], cv2.BORDER_CONSTANT, value=0))
    inside = slice(radius, radius + height), slice(radius, radius + breadth)
    highest, lowest = (np.full((height, breadth), sign * np.inf, np.float32) for sign in (-1, 1))
    for one in _spectra(width, length, radius, size):
        response = cv2.idft(spectrum * one, flags=cv2.DFT_SCALE)[inside]
        np.maximum(highest, response, out=highest)
        np.minimum(lowest, response, out=lowest)
    return highest, lowest


@functools.lru_cache(maxsize=32)
def _spectra(width: float, length: float, radius: int, size: tuple[int, int]) -> np.ndarray:
    """(orientations, S, S): what OpenCV's packed transform of an image is multiplied by.

    The transform of kernels centred on pixel 0 is real, for each equals itself turned by half a turn, so real and
    imaginary parts have the same factor. They lie in pairs: along rows, in the first and last column along columns.
    """
    centred = np.zeros((ORIENTATIONS, *size))
    centred[:, : 2 * radius + 1, : 2 * radius + 1] = kernels(width, length, radius)
    real = np.fft.rfft2(np.roll(centred, (-radius, -radius), (1, 2))).real
    rows, columns = _paired(size[0]), _paired(size[1])
    packed = real[:, :, columns]
    packed[:, :, [0, -1]] = real[:, rows][:, :, [0, -1]]
    return packed.astype(np.float32)


def _paired(size: int) -> np.ndarray:
    """0, 1, 1, 2, 2, ... to half of an even size: the frequency that lies at each place of a packed transform."""
    return (np.arange(size) + 1) // 2


def _smooth(size: int) -> int:
    # The next multiple of 16: transforms of sizes with small prime factors are fast.
    return -(-size // 16) * 16
