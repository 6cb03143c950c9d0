"""What the model says of one image alone. A verdict takes more: smoothing, edges, company, a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from anomaly.decision.gate import Look
from anomaly.evidence.descriptions import Description


@dataclass(frozen=True)
class Observation:
    """`own` is the map of one image, float32, in the unit of the activation, neither smoothed nor enlarged.

    It is as fine as what made it: a patch, or a cell of a patch; `seen_hw` are the pixels at which the model saw the
    picture. `size_hw` is the image's own size, `object` the part's name as the prompts have it, `evidence` what spoke
    for a defect besides the text, by name, in z-scores of this image, each at a size of its own. `description` is
    what the picture's patches look like, where pictures are compared; `look` is what the gate asks for, `part` where
    the part is (bool, any size; None where that is not asked, or cannot be told); `picture` is what its map is to
    follow, RGB uint8 of `seen_hw` pixels, None where it follows nothing.
    """

    own: np.ndarray
    size_hw: tuple[int, int]
    seen_hw: tuple[int, int]
    object: str
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    milliseconds: float = 0.0
    description: Description | None = None
    look: Look | None = None
    part: np.ndarray | None = None
    picture: np.ndarray | None = None
