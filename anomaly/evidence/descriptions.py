"""What the patches of a picture look like, as vectors that can be compared with another picture's.

Knows neither the network that made them nor what they are compared with. Letters: h x w patches, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# What describes pictures, by the word in a model's `inspection.yaml`: nano's eyes at `eyes.SIZE`, or its own tokens.
SEEN_BY = {"eyes": "EfficientNet-Lite0, 256 px", "tokens": "the model's tokens at four depths"}


@dataclass(frozen=True)
class Description:
    """A picture's patches (h, w, C), float32, row by row, and the hash of its pixels (`content_hash`).

    `turned` holds the patches of the same picture turned or mirrored, where it may lie in any way.
    """

    patches: np.ndarray
    content: str
    turned: tuple[np.ndarray, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.patches.shape[0], self.patches.shape[1]

    @property
    def channels(self) -> int:
        """How many numbers describe a patch."""
        return self.patches.shape[2]

    def rows(self) -> np.ndarray:
        """All patches, those of the turned picture too, (N, C)."""
        return np.concatenate([one.reshape(-1, self.channels) for one in (self.patches, *self.turned)])


class Unread(Description):
    """A description of known grid and content whose patches `read` gives when they are asked for."""

    _read: Callable[[], np.ndarray]
    _grid: tuple[int, int]

    def __init__(self, read: Callable[[], np.ndarray], grid: tuple[int, int], content: str) -> None:
        for name, value in {"_read": read, "_grid": grid, "content": content, "turned": ()}.items():
            object.__setattr__(self, name, value)

    @cached_property
    def patches(self) -> np.ndarray:
        """See `Description`."""
        return self._read()

    @property
    def grid(self) -> tuple[int, int]:
        """See `Description`."""
        return self._grid


def content_hash(image: np.ndarray) -> str:
    """SHA-256, in hexadecimal, of an RGB uint8 H x W x 3 image's size and pixels: the same for copies of any format."""
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def turned(image: np.ndarray, quarters: bool = False, mirrored: bool = False) -> list[np.ndarray]:
    """The image H x W x 3 and the ways it may lie: turned by `quarters` of a circle, and `mirrored`; 1, 2, 4 or 8."""
    ways = [image, np.ascontiguousarray(image[:, ::-1])] if mirrored else [image]
    return [
        np.ascontiguousarray(np.rot90(one, turns)) for one in ways for turns in range(4 if quarters else 1)
    ]
