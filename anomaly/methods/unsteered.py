"""The frozen trunk with the model's own segmentation head: what the head finds in tokens that no text has touched."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly.methods.backbones import TrunkBackbone, squashed
from anomaly.methods.mahalanobis import lengths
from anomaly.methods.method import Asked, Found
from anomaly.methods.zero_shot import ZeroShot

KEPT = 32  # directions of the tokens in which a picture's patches differ most


class Unsteered(ZeroShot):
    """The model at omega 0. The part's name changes nothing."""

    name, about = "unsteered", "the model's head on its frozen trunk, omega 0"

    def __init__(self, asked: Asked) -> None:
        self.backbone = TrunkBackbone(asked)
        self.smooth = self.backbone.smooth

    def describe(self) -> dict[str, Any]:
        """See `Method`."""
        return {"model": self.backbone.name, "hashes": self.backbone.hashes}

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        import torch

        model = self.backbone.model
        with torch.inference_mode():
            logits = model.head(self.backbone.see(squashed(self.backbone, image))[0])
        return Found(logits.reshape(model.grid_size).float().cpu().numpy(), self.backbone.image_size)


class TokenMahalanobis(Unsteered):
    """The trunk without the head: how far each patch's token lies from the picture's own mean, in its own spread."""

    name, about = "token-mahalanobis", "Mahalanobis distance of the trunk's tokens within the picture"

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        import torch

        with torch.inference_mode():
            tokens = self.backbone.see(squashed(self.backbone, image))[0][0].float().cpu().numpy()
        return Found(lengths(_main(tokens).reshape(*self.backbone.grid_size, -1)), self.backbone.image_size)


def _main(tokens: np.ndarray) -> np.ndarray:
    """Tokens (N, D) in the directions in which they differ most, (N, at most `KEPT`), the first of variance 1."""
    centred = (tokens - tokens.mean(0)).astype(np.float64)
    _, strengths, ways = np.linalg.svd(centred, full_matrices=False)
    return centred @ ways[:KEPT].T * len(tokens) ** 0.5 / max(strengths[0], 1e-12)
