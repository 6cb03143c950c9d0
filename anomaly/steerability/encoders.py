"""What the benchmarks of steered features ask of a model, and a SteerViT as that. Knows no benchmark and no file.

Letters: B images, S image side in px, N = h x w patches, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from PIL.Image import Image
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from steervit import SteerViT

Transform = Callable[[Image], Tensor]
Texts = Sequence[str] | None


class Encoder(Protocol):
    """Images (B, 3, S, S), each with a sentence or all without text, to features. May refuse what it does not have."""

    name: str

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px."""

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""

    def transform(self, whole: bool) -> Transform:
        """From a PIL image to (3, S, S): as the model is evaluated, or squashed, so that the `whole` image is seen."""

    def global_features(self, images: Tensor, texts: Texts) -> Tensor:
        """One vector for each image, (B, D)."""

    def dense_features(self, images: Tensor, texts: Texts) -> Tensor:
        """One vector for each patch, (B, N, D), row by row."""

    def attention(self, images: Tensor, texts: Texts) -> Tensor:
        """Where the image's vector comes from, (B, h, w) in 0..1."""

    def logits(self, images: Tensor, texts: Texts) -> Tensor:
        """How much each patch is what the text names, (B, h, w)."""


class ModelEncoder:
    """A SteerViT at one omega. The model given stays as it is."""

    def __init__(self, model: SteerViT, omega: float = 1.0) -> None:
        self.model = model.view()
        self.model.eval()
        self.model.set_gate_factor(omega)
        self.name = model.name

    @property
    def image_size(self) -> tuple[int, int]:
        """See `Encoder`."""
        return self.model.image_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """See `Encoder`."""
        return self.model.grid_size

    def transform(self, whole: bool) -> Transform:
        """See `Encoder`; not whole, published trunks crop the centre, as the official code does."""
        if not whole:
            return self.model.get_transforms()
        from timm.data import create_transform, resolve_data_config

        data = resolve_data_config({}, model=self.model.trunk)
        sizes = {"input_size": (3, *self.image_size), "crop_pct": 1.0, "crop_mode": "squash"}
        return create_transform(**{**data, **sizes})

    def global_features(self, images: Tensor, texts: Texts) -> Tensor:
        """See `Encoder`."""
        return self.model.get_global_features(images, texts)

    def dense_features(self, images: Tensor, texts: Texts) -> Tensor:
        """See `Encoder`."""
        return self.model.get_dense_features(images, texts)

    def attention(self, images: Tensor, texts: Texts) -> Tensor:
        """See `Encoder`: CLS-to-patch attention of the last block. Needs a trunk with a CLS token."""
        if not self.model.trunk.num_prefix_tokens:
            raise SteerAnomalyError(f"expected a model with a CLS token, {self.name} has none")
        return self.model.get_attention_heatmaps(images, texts, interpolate=False)

    def logits(self, images: Tensor, texts: Texts) -> Tensor:
        """See `Encoder`: what the segmentation head says."""
        import torch

        with torch.inference_mode():
            found = self.model(images, texts, return_segmentation_logits=True)
        return found.unflatten(-1, self.grid_size)
