"""What the model says of one image alone. A verdict takes more: smoothing, company, a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Observation:
    """`own` is the map of one image at the model's working size, float32, in the unit of the activation, not smoothed.

    `size_hw` is the image's own size, `object` the part's name as the prompts have it, `evidence` what spoke for a
    defect besides the text, by name, in z-scores of this image, each at a size of its own.
    """

    own: np.ndarray
    size_hw: tuple[int, int]
    object: str
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    milliseconds: float = 0.0
