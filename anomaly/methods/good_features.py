"""What PatchCore and PaDiM look at: the descriptions by which this model compares pictures. Knows no distance.

Letters: h x w patches, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.methods.backbones import TrunkBackbone, squashed
from anomaly.methods.method import Asked


class GoodFeatures:
    """A method that has to see good pictures first: `learn` makes what it compares with of their features.

    Features are nano's eyes' (an ImageNet network), or the trunk's tokens at four depths, whichever the model uses.
    """

    name: str
    needs_good = True
    smooth, peak = 4.0, True
    prompt_set, weighs_text = "default", False

    def __init__(self, asked: Asked) -> None:
        self.backbone = TrunkBackbone(asked)
        self._learned: Any = None

    @cached_property
    def describer(self) -> Any:
        """An RGB uint8 H x W x 3 picture -> `Description`."""
        from anomaly.evidence.describers import EyesDescriber, TokenDescriber

        if self.backbone.found.defaults.description == "eyes":
            return EyesDescriber()
        return TokenDescriber(lambda: self.backbone.model, lambda image: squashed(self.backbone, image))

    def describe(self) -> dict[str, Any]:
        """See `Method`."""
        return {"model": self.backbone.name, "hashes": self.backbone.hashes, "features": self.describer.name}

    def fitted(self, images: Sequence[np.ndarray], object: str) -> Any:
        """See `Method`."""
        _ = self.describer  # shared by all parts
        other = copy(self)
        other._learned = self.learn([self.describer(image).patches for image in images])
        return other

    def features(self, image: np.ndarray) -> np.ndarray:
        """A picture's patches (h, w, C)."""
        return self.describer(image).patches

    @property
    def learned(self) -> Any:
        """What `learn` made. Raises `SteerAnomalyError` before good pictures were seen."""
        if self._learned is None:
            raise SteerAnomalyError(
                f"{self.name} has seen no good pictures: it needs train/good, or --references"
            )
        return self._learned

    def learn(self, good: Sequence[np.ndarray]) -> Any:
        """Of the features (h, w, C) of each good picture."""
        raise NotImplementedError
