"""What a piece of evidence is given and what it returns. A new kind of evidence is a new module beside this one.

Evidence speaks for a defect whatever the text says. It is added to the logits of the prompts that ask for defects,
times a weight of the settings. Letters: T tiles, N patches of a tile, D width, h x w patches of the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from anomaly.evidence.descriptions import Description
from anomaly.tiles import Tiling


class Found(Protocol):
    """What a model gave of T tiles. The rest of it (`tokens`, say) is between a model and its own evidence."""

    @property
    def maps(self) -> np.ndarray:
        """The head's logits, one map per prompt, (T, P, h, w) float32."""

    def split(self, size: int) -> Sequence[Found]:
        """The same, `size` tiles at a time."""


class Describer(Protocol):
    """Describes pictures; `name` says how, and belongs to the settings that decide a score."""

    name: str

    def __call__(self, image: np.ndarray) -> Description:
        """An RGB uint8 H x W x 3 image -> what its patches look like."""


@dataclass(frozen=True)
class Seen:
    """A picture and how the model saw it.

    `image` RGB uint8 H x W x 3; `tiling`, how it was cut; `found`, what the model gave of its T tiles, a `Found` (in
    torch a `Segmentation`, with `tokens` (T, N, D) before text touched them); `size_hw`, the pixels at which all tiles
    together show the picture.
    """

    image: np.ndarray
    tiling: Tiling
    found: Any
    size_hw: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the picture was seen in one piece."""
        return self.tiling.rows == self.tiling.columns == 1


class Evidence(Protocol):
    """A function from what was seen to evidence (k*h, k*w) float32: in z-scores of the picture, higher is odder."""

    def __call__(self, seen: Seen) -> np.ndarray:
        """See the class."""
