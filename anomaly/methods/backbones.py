"""Frozen encoders of pictures and of sentences that baselines are made of. Knows neither defects nor benchmarks.

Letters: B images, P sentences, S image side in px, N = h x w patches, D channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.methods.method import Asked
from anomaly.pictures.sizes import picture_at

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from anomaly.model_files import FoundModel
    from steervit import SteerViT

CONTRASTIVE = ("clip", "siglip")  # model types of transformers, with what follows


class Backbone(Protocol):
    """Pictures and sentences as vectors of one width D. Weights are loaded when first needed.

    `scale` is the factor of cosines before a softmax; `aligned`: pictures and sentences were trained to meet. `smooth`
    is the sigma, in px of its image, that maps of this model are smoothed by.
    """

    name: str
    hashes: dict[str, str]
    scale: float
    aligned: bool
    smooth: float

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px."""

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""

    def transform(self, whole: bool) -> Callable[[Image], torch.Tensor]:
        """From a PIL image to (3, S, S); `whole`: squashed, so that all of it is seen."""

    def see(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, 3, S, S) -> patches (B, N, D) and one vector each (B, D)."""

    def say(self, texts: Sequence[str]) -> torch.Tensor:
        """Sentences -> one vector each, (P, D)."""


class TrunkBackbone:
    """A SteerViT's frozen trunk, which no text touches, and the mean of its connector's output for a sentence.

    The connector was trained to feed cross-attention, not to meet image vectors: `aligned` is false.
    """

    scale, aligned = 100.0, False

    def __init__(self, asked: Asked) -> None:
        from anomaly.loaded_model import usable_device
        from anomaly.model_files import find_model

        self.found: FoundModel = find_model(asked.model, asked.trunk, asked.text_encoder)
        self.name, self.hashes = self.found.record.name, self.found.record.hashes
        self.smooth = self.found.defaults.smooth
        self._device = usable_device(asked.device, asked.model)

    @cached_property
    def model(self) -> SteerViT:
        """The model at omega 0; one with layers after the last block has them too."""
        loaded = self.found.load().view(self._device)
        loaded.set_gate_factor(0)
        return loaded.eval()

    @property
    def image_size(self) -> tuple[int, int]:
        """See `Backbone`."""
        return self.found.image_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """See `Backbone`."""
        return self.model.grid_size

    def transform(self, whole: bool) -> Callable[[Image], torch.Tensor]:
        """See `Backbone`."""
        from anomaly.steerability.encoders import ModelEncoder

        return ModelEncoder(self.model, 0).transform(whole)

    def see(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Backbone`."""
        model = self.model
        tokens = model.encode(images, None).tokens
        patches = tokens[:, model.trunk.num_prefix_tokens :]
        by_cls = model.config["vision_encoder"].get("feature_aggregation", "cls") == "cls"
        return patches, tokens[:, 0] if by_cls else patches.mean(1)

    def say(self, texts: Sequence[str]) -> torch.Tensor:
        """See `Backbone`: the mean over a sentence's words."""
        words, mask = self.model.encode_text(texts)
        weights = mask.to(words.dtype)[..., None]
        return (words * weights).sum(1) / weights.sum(1)


def open_backbone(asked: Asked) -> Backbone:
    """CLIP or SigLIP where `asked.model` is one, else a SteerViT's trunk. Raises `SteerAnomalyError`."""
    if is_contrastive(asked.model):
        return open_contrastive(asked)
    return TrunkBackbone(asked)


def open_contrastive(asked: Asked, kinds: Sequence[str] = CONTRASTIVE) -> Any:
    """CLIP or SigLIP. Raises `SteerAnomalyError` when `asked.model` is neither, or not of these `kinds`."""
    from anomaly.methods.contrastive import ContrastiveBackbone

    if not is_contrastive(asked.model, kinds):
        examples = {"clip": "openai/clip-vit-base-patch16", "siglip": "google/siglip-base-patch16-384"}
        raise SteerAnomalyError(
            f"expected --model to be a folder with weights of {' or '.join(kinds)} as transformers saves them, or a "
            f"hub name such as {examples[kinds[0]]}, got {asked.model!r}"
        )
    return ContrastiveBackbone(asked.model, asked.device)


def is_contrastive(model: str, kinds: Sequence[str] = CONTRASTIVE) -> bool:
    """Whether `model` is a folder of such weights, or a hub name (owner/name) that says so."""
    config = Path(model) / "config.json"
    if config.is_file():
        try:
            kind = str(json.loads(config.read_text(encoding="utf-8")).get("model_type", ""))
        except (ValueError, AttributeError):
            return False
        return any(kind.startswith(one) for one in kinds)
    owner, slash, name = model.partition("/")
    named = bool(owner and slash) and "/" not in name and not Path(model).exists()
    return named and any(one in name.lower() for one in kinds)


def squashed(backbone: Backbone, image: np.ndarray) -> torch.Tensor:
    """A picture, RGB uint8 H x W x 3, as a backbone takes it whole: (1, 3, S, S)."""
    from PIL import Image

    small = picture_at(image, backbone.image_size)
    return backbone.transform(whole=True)(Image.fromarray(small))[None]
