"""A zero-shot method that asks a backbone about patches by the prompts' sentences."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly import prompts as prompt_sets
from anomaly.methods.backbones import Backbone, squashed
from anomaly.methods.method import Asked, Found
from anomaly.methods.text_scores import directions
from anomaly.methods.zero_shot import ZeroShot

if TYPE_CHECKING:
    import torch


class ReadText(ZeroShot):
    """Prompts become directions once for each part; `patch_scores` makes a map of a picture."""

    def __init__(self, asked: Asked, backbone: Backbone) -> None:
        self.asked, self.backbone, self.smooth = asked, backbone, backbone.smooth
        self._directions = cache(partial(directions, backbone, asked.prompts))

    def describe(self) -> dict[str, Any]:
        """See `Method`."""
        prompts = self.asked.prompts
        return {
            "model": self.backbone.name, "hashes": self.backbone.hashes, "omega": self.asked.omega,
            "prompts": list(prompts.prompts), "contrast": list(prompts.contrast), "prompt_set": prompts.name,
        }  # fmt: skip

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        import torch

        with torch.inference_mode():
            wanted, contrast = self._directions(prompt_sets.object_name(object))
            found = self.patch_scores(squashed(self.backbone, image), wanted, contrast)
        grid = found.reshape(self.backbone.grid_size).float().cpu().numpy()
        return Found(grid, self.backbone.image_size)

    def patch_scores(
        self, images: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None
    ) -> torch.Tensor:
        """One image (1, 3, S, S) and two directions (D,) -> a value for each patch, (N,) or (1, N)."""
        raise NotImplementedError
