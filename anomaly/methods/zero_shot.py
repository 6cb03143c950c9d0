"""What methods that need no good pictures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.methods.method import Asked


class ZeroShot:
    """A method that knows of a part its name at most; see `method.Method`."""

    name: str
    needs_good = False
    smooth = 0.0
    peak = False
    prompt_set = "default"
    weighs_text = False

    def fitted(self, images: Sequence[np.ndarray], object: str) -> Any:
        """See `Method`."""
        raise SteerAnomalyError(f"{self.name} compares with no good pictures: leave --shots away")


class Weightless(ZeroShot):
    """A method of pixels alone: reads neither text nor weights."""

    def __init__(self, asked: Asked) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        """See `Method`."""
        return {"model": "none", "hashes": {}}
