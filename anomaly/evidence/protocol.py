"""What a piece of evidence is given and what it returns. A new kind of evidence is a new module beside this one.

Evidence speaks for a defect whatever the text says. It is added to the logits of the prompts that ask for defects,
times a weight of the settings. Letters: T tiles, N patches of a tile, D width, h x w patches of the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anomaly.tiles import Tiling

if TYPE_CHECKING:  # a run that has nothing left to do imports no model
    from steervit.inference.ensemble import Segmentation


@dataclass(frozen=True)
class Seen:
    """A picture and how the model saw it.

    `image` RGB uint8 H x W x 3; `tiling`, how it was cut; `found`, what the model gave of its T tiles (`tokens`
    (T, N, D) before text touched them); `size_hw`, the pixels at which all tiles together show the picture.
    """

    image: np.ndarray
    tiling: Tiling
    found: Segmentation
    size_hw: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the picture was seen in one piece."""
        return self.tiling.rows == self.tiling.columns == 1


class Evidence(Protocol):
    """A function from what was seen to evidence (k*h, k*w) float32: in z-scores of the picture, higher is odder."""

    def __call__(self, seen: Seen) -> np.ndarray:
        """See the class."""
