"""Pictures that show nothing: a camera with its cap on, a lamp that died. Needs no profile, whose gate says more."""

from __future__ import annotations

import numpy as np

DARK = 12  # of 255
LIT = 0.001  # of the pixels, at most, that are brighter in a picture that shows nothing
BLACK = "the picture is black: look at the lamp, the lens and the camera"


def is_black(image: np.ndarray) -> bool:
    """Whether RGB uint8 H x W x 3 is black but for noise. Looks at every second row and column."""
    return float((image[::2, ::2].max(2) > DARK).mean()) <= LIT
