"""Baselines as the benchmarks of steered features ask them: see `anomaly.steerability.encoders.Encoder`.

Letters: B images, S image side in px, N = h x w patches, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anomaly import prompts as prompt_sets
from anomaly.errors import SteerAnomalyError
from anomaly.methods.backbones import CONTRASTIVE, Backbone, TrunkBackbone, open_backbone, open_contrastive
from anomaly.methods.late_fusion import LateFusion, TrainedLateFusion, fused, trained
from anomaly.methods.maskclip import MaskClip, values
from anomaly.methods.method import Asked
from anomaly.methods.text_pooling import TextPooling, pooled, weights
from anomaly.methods.text_scores import scores
from anomaly.methods.unsteered import Unsteered
from steervit.did_you_mean import unknown

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Texts = Sequence[str] | None


class FrozenEncoder:
    """A backbone that no text touches: CLIP, SigLIP, or a trunk alone."""

    def __init__(self, backbone: Backbone, omega: float) -> None:
        self.backbone, self.omega = backbone, omega
        self.name = backbone.name

    @property
    def image_size(self) -> tuple[int, int]:
        """See `Encoder`."""
        return self.backbone.image_size

    @property
    def grid_size(self) -> tuple[int, int]:
        """See `Encoder`."""
        return self.backbone.grid_size

    def transform(self, whole: bool) -> Callable[[Image], torch.Tensor]:
        """See `Encoder`."""
        return self.backbone.transform(whole)

    def global_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`; refuses sentences."""
        self._refuse(texts)
        return self.backbone.see(images)[1]

    def dense_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`; refuses sentences."""
        self._refuse(texts)
        return self.backbone.see(images)[0]

    def attention(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`; this one attends to nothing that could be shown."""
        raise SteerAnomalyError(f"expected a method that attends to patches, {self.name} does not here")

    def logits(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`: cosines of patches with the sentence, times the backbone's scale."""
        if texts is None or not self.backbone.aligned:
            raise SteerAnomalyError(
                f"expected a sentence and a model that was trained to meet it, {self.name} was not"
            )
        said = self.backbone.say(texts)
        patches = self.dense_features(images, None)
        found = [scores(one, _unit(text), None, 1) for one, text in zip(patches, said, strict=True)]
        return self.backbone.scale * _stacked(found).unflatten(-1, self.grid_size)

    def _refuse(self, texts: Texts) -> None:
        if texts is not None:  # figures must not say that a sentence was read
            raise SteerAnomalyError(f"the features of {self.name} are not touched by text: --prompts none")


class MaskClipEncoder(FrozenEncoder):
    """CLIP whose patches look at themselves alone in the last block."""

    def dense_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`; refuses sentences."""
        self._refuse(texts)
        backbone: Any = self.backbone
        return values(backbone, images)


class LateFusionEncoder(FrozenEncoder):
    """A sentence's vector added to what the backbone gives, omega times."""

    def global_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`."""
        whole = self.backbone.see(images)[1]
        return whole if texts is None else fused(whole, self.backbone.say(texts), self.omega)

    def dense_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`."""
        patches = self.backbone.see(images)[0]
        return patches if texts is None else fused(patches, self.backbone.say(texts)[:, None], self.omega)

    def logits(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`: of a SteerViT's trunk, what its head finds."""
        if not isinstance(self.backbone, TrunkBackbone):
            return super().logits(images, texts)
        return (
            self.backbone.model.head(self.dense_features(images, texts))
            .squeeze(-1)
            .unflatten(-1, self.grid_size)
        )


class TextPoolingEncoder(FrozenEncoder):
    """A sentence asks, patches answer: their mean, weighed by likeness; omega from the plain vector to that."""

    def global_features(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`."""
        patches, whole = self.backbone.see(images)
        return whole if texts is None else pooled(patches, whole, self.backbone.say(texts), self.omega)

    def attention(self, images: torch.Tensor, texts: Texts) -> torch.Tensor:
        """See `Encoder`: how much each patch counts, brought to 0..1."""
        if texts is None:
            return super().attention(images, texts)
        found = weights(self.backbone.see(images)[0], self.backbone.say(texts))
        low, high = found.amin(1, keepdim=True), found.amax(1, keepdim=True)
        return ((found - low) / (high - low).clamp_min(1e-12)).unflatten(-1, self.grid_size)


def _clip(asked: Asked) -> Backbone:
    return open_contrastive(asked, CONTRASTIVE[:1])


def _siglip(asked: Asked) -> Backbone:
    return open_contrastive(asked, CONTRASTIVE[1:])


_Kind = tuple[Callable[[Asked], Backbone], type[FrozenEncoder]]
ENCODERS: Mapping[str, _Kind] = {
    Unsteered.name: (TrunkBackbone, FrozenEncoder),
    LateFusion.name: (open_backbone, LateFusionEncoder),
    TextPooling.name: (open_backbone, TextPoolingEncoder),
    "clip": (_clip, FrozenEncoder),
    "siglip": (_siglip, FrozenEncoder),
    MaskClip.name: (open_contrastive, MaskClipEncoder),
}


def open_encoder(shared: Mapping[str, Any]) -> tuple[Callable[[float], Any], dict[str, Any]]:
    """What makes the encoder of an omega for `--method`, and the settings that say which it is.

    Raises `SteerAnomalyError` for a method that has no features, or no use for omega where one was given.
    """
    from anomaly.steerability.encoders import ModelEncoder

    name = shared["method"]
    if name not in ENCODERS and name != TrainedLateFusion.name:
        raise SteerAnomalyError(unknown("method with features", name, [*ENCODERS, TrainedLateFusion.name]))
    if name in ("unsteered", "clip", "siglip", "maskclip") and shared["omegas"] != (1.0,):
        raise SteerAnomalyError(f"--omega says nothing to the method {name}, whose features no text touches")
    named = {key: shared[key] for key in ("model", "trunk", "text_encoder", "device")}
    asked = Asked(prompt_sets.load("default"), **named)
    opened, kind = ENCODERS.get(name, (TrunkBackbone, FrozenEncoder))
    backbone = opened(asked)
    settings = {"model": backbone.name, "hashes": backbone.hashes, "method": name}
    if name == TrainedLateFusion.name:
        assert isinstance(backbone, TrunkBackbone)
        return lambda omega: ModelEncoder(trained(backbone, omega), omega), settings
    return lambda omega: kind(backbone, omega), settings


def _unit(vector: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    return normalize(vector, dim=-1)


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.stack(list(parts))
