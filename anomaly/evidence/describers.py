"""What makes a picture's patches comparable with another picture's: an ImageNet network, or the model's own tokens.

Which one a model uses stands in its `inspection.yaml`. Letters: h x w patches, C channels, S image side in pixels.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.descriptions import SEEN_BY, Description, content_hash
from anomaly.evidence.mutual_musc import describe_neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable

    from steervit import SteerViT
    from steervit.nano.eyes import Eyes

DEPTHS = (0.25, 0.5, 0.75, 1.0)  # of the trunk, after which tokens are taken


class EyesDescriber:
    """nano's eyes: EfficientNet-Lite0 trained on ImageNet, from its wheel (`steervit.nano.eyes`)."""

    name = SEEN_BY["eyes"]

    def __init__(self) -> None:
        self._loading = Lock()

    @cached_property
    def _eyes(self) -> Eyes:
        from steervit.nano.eyes import Eyes, EyesError

        try:
            return Eyes.from_pretrained()
        except EyesError as error:
            raise SteerAnomalyError(str(error)) from error

    def __call__(self, image: np.ndarray) -> Description:
        """See `Describer`."""
        from steervit.nano.eyes import GRID_STRIDE, prepare

        with self._loading:
            eyes = self._eyes
        pixels = prepare(image)
        grid = (pixels.shape[1] // GRID_STRIDE, pixels.shape[2] // GRID_STRIDE)
        patches = eyes.see(pixels[None])[0]
        return Description(patches.view(*grid, -1).numpy(), content_hash(image))


class TokenDescriber:
    """The model's own patch tokens after a quarter, half, three quarters and all of its blocks, unsteered.

    Every layer has the final norm applied, as MuSc's and AnomalyDINO's features have (timm's intermediate tokens
    have not), is averaged over neighbourhoods and made a unit vector; one pass gives them all. `pixels` makes the
    model's input (1, 3, S, S) of an image, `model` gives the model, loaded when first asked for.
    """

    name = SEEN_BY["tokens"]

    def __init__(self, model: Callable[[], SteerViT], pixels: Callable[[np.ndarray], torch.Tensor]) -> None:
        self._model, self._pixels = model, pixels

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Description:
        """See `Describer`."""
        model = self._model()
        patches = described_tokens(model, self._pixels(image))[0].cpu()
        return Description(patches.view(*model.grid_size, -1).numpy(), content_hash(image))


def described_tokens(model: SteerViT, pixels: Tensor) -> Tensor:
    """Images (B, 3, S, S), normalised -> one description of each patch, (B, h*w, C), float32; see `TokenDescriber`."""
    depth, prefix = len(model.trunk.blocks), model.trunk.num_prefix_tokens
    blocks = sorted({max(1, round(depth * share)) - 1 for share in DEPTHS})
    found = model.encode(pixels, None, blocks=blocks)
    layers = [model.trunk.norm(found.blocks[i])[:, prefix:].float() for i in blocks]
    units = [describe_neighbourhood(layer, model.grid_size) for layer in layers]
    return torch.cat(units, -1) / len(units) ** 0.5
