"""SteerViT: a frozen vision transformer that text steers (*Steerable Visual Representations*, ECCV 2026).

The parts come in already built: trunk, text encoder, connector, cross-attention layers, head. This module
only wires them, and knows nothing of files (see `loading`) or of what the heatmaps are used for.
Letters: B images, P prompts, N tokens (prefix tokens first), D trunk width, h x w patches, S image side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.inference.ensemble import PromptBank, Segmentation, run_ensemble
from steervit.modeling.attention_maps import pool_heads, suppress_sinks
from steervit.modeling.connector import Connector
from steervit.modeling.cross_attention import GatedCrossAttention
from steervit.modeling.text import TextEncoder
from steervit.modeling.trunk import cls_attention, embed


@dataclass(frozen=True)
class Encoding:
    """What one pass gives: `tokens` (B, N, D) after the final norm; `blocks`, the tokens after each block
    asked for, by block number; `cls_attention` (B, heads, N-to-patches) of the last block if asked for."""

    tokens: Tensor
    blocks: dict[int, Tensor]
    cls_attention: Tensor | None = None


class SteerViT(nn.Module):
    """A steerable vision transformer. Build one with `SteerViT.from_pretrained`."""

    def __init__(
        self,
        trunk: Any,
        text_encoder: TextEncoder | None,
        connector: Connector,
        cross_attention: dict[int, GatedCrossAttention],
        head: nn.Linear,
        config: dict,
    ) -> None:
        super().__init__()
        self.trunk: Any = trunk
        self.text_encoder, self.connector, self.head = text_encoder, connector, head
        self.cross_attention: Any = nn.ModuleDict(
            {str(i): layer for i, layer in sorted(cross_attention.items())}
        )
        self.config = config
        self.name = config.get("name", "unnamed SteerViT")
        self.omega = 1.0

    @classmethod
    def from_pretrained(
        cls, name_or_path, device=None, *, trunk=None, text_encoder=None, local_only: bool = False
    ) -> SteerViT:
        """Load `nano`, a published checkpoint by name, or a checkpoint file or folder, in eval mode.

        `trunk` (safetensors or a timm state dict) and `text_encoder` (a folder) replace what would come from
        the hub. Raises ValueError or FileNotFoundError that say what is missing; never executes code from a file.
        """
        from steervit.weights.loading import load_pretrained

        model = load_pretrained(name_or_path, trunk=trunk, text_encoder=text_encoder, local_only=local_only)
        return model.to(device) if device is not None else model

    def view(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SteerViT:
        """The same model with an omega, a device and a precision of its own; this one stays as it is.

        Parts are shared where device and precision are the same, and copied where not. `dtype` is that of trunk,
        steering layers and head (bfloat16 to go faster); text stays in float32.
        """
        device, dtype = torch.device(device or self.device), dtype or self.dtype
        moved = partial(_moved, device=device)
        seeing = partial(_moved, device=device, dtype=dtype)
        layers = {int(i): seeing(layer) for i, layer in self.cross_attention.items()}
        text = moved(self.text_encoder) if self.text_encoder is not None else None
        parts = (seeing(self.trunk), text, moved(self.connector), layers, seeing(self.head))
        other = type(self)(*parts, self.config)
        other.name, other.omega, other.training = self.name, self.omega, self.training
        return other

    # Sizes and preprocessing -------------------------------------------------------------------------

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.trunk.patch_embed.patch_size[0]

    @property
    def feature_dim(self) -> int:
        """Width D of a token."""
        return self.trunk.embed_dim

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model takes."""
        return tuple(self.trunk.patch_embed.img_size)

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return tuple(self.trunk.patch_embed.grid_size)

    @property
    def device(self) -> torch.device:
        """Where the head's weights are."""
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the head's weights, in which the trunk runs too."""
        return self.head.weight.dtype

    def get_transforms(self):
        """timm's evaluation transform (PIL image -> normalised (3, S, S)); published trunks centre-crop."""
        from timm.data import create_transform, resolve_data_config

        data = resolve_data_config({}, model=self.trunk)
        data["input_size"] = (3, *self.image_size)
        return create_transform(**data)

    def set_gate_factor(self, factor: float) -> None:
        """Set omega, which multiplies every gate before its tanh: 0 is the frozen trunk, 1 as trained."""
        self.omega = float(factor)

    def late_layers(self) -> dict[int, GatedCrossAttention]:
        """Steering layers after the last block, by place: none, except in late fusion (nano, an ablation)."""
        depth = len(self.trunk.blocks)
        return {int(i): layer for i, layer in self.cross_attention.items() if int(i) >= depth}

    # Text --------------------------------------------------------------------------------------------

    def encode_text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences -> connector output (P, L, D) and mask (P, L) bool.

        Raises ValueError when the text tower was dropped.
        """
        if self.text_encoder is None:
            raise ValueError(
                "expected a text encoder, but it was dropped after the prompts were prepared; "
                "load the model again to encode other prompts"
            )
        features, mask = self.text_encoder(texts)
        return self.connector(features), mask

    def drop_text_encoder(self) -> None:
        """Free the text tower; prompts already prepared keep working."""
        self.text_encoder = None

    # One prompt per image ----------------------------------------------------------------------------

    def encode(
        self,
        images: Tensor,
        texts: Sequence[str] | None = None,
        blocks: Sequence[int] = (),
        attention: bool = False,
    ) -> Encoding:
        """Images (B, 3, S, S), normalised, each with its sentence (or None: the plain trunk) -> `Encoding`.

        `blocks` lists block numbers whose output to return, before the final norm (negative ones count from the
        last; ValueError for one that does not exist); `attention` adds the last block's CLS attention.
        """
        if texts is not None and len(texts) != len(images):
            raise ValueError(f"expected one text per image, got {len(texts)} texts for {len(images)} images")
        if texts is None or self.omega == 0:  # exactly the frozen trunk
            return self.encode_with(images, None, None, blocks, attention)
        return self.encode_with(images, *self.encode_text(texts), blocks, attention)

    def encode_with(
        self,
        images: Tensor,
        text: Tensor | None,
        mask: Tensor | None,
        blocks: Sequence[int] = (),
        attention: bool = False,
        added: Mapping[int, Tensor] | None = None,
    ) -> Encoding:
        """As `encode`, with connector output text (B, L, D) and mask (B, L) in place of sentences.

        `added` holds vectors (D,) by place, which all patches get where that cross-attention layer would change
        them: before a block, or after the last (see `inference.vectors`).
        """
        wanted = self._block_numbers(blocks)
        x = embed(self.trunk, images.to(self.device))
        text = text if text is None else text.to(x.dtype)
        kept, attended = {}, None
        for i, block in enumerate(self.trunk.blocks):
            if text is not None and str(i) in self.cross_attention:
                x = self.cross_attention[str(i)](x, text, mask, self.omega)
            x = self._pushed(x, added, i)
            if attention and i == len(self.trunk.blocks) - 1:
                attended = cls_attention(block, x)[:, :, self.trunk.num_prefix_tokens :]
            x = block(x)
            if i in wanted:
                kept[wanted[i]] = x
        for i, layer in self.late_layers().items():
            x = layer(x, text, mask, self.omega) if text is not None else x
            x = self._pushed(x, added, i)
        return Encoding(self.trunk.norm(x), kept, attended)

    def _pushed(self, x: Tensor, added: Mapping[int, Tensor] | None, place: int) -> Tensor:
        if not added or place not in added:
            return x
        prefix = self.trunk.num_prefix_tokens
        return torch.cat([x[:, :prefix], x[:, prefix:] + added[place].to(x)], 1)

    def _block_numbers(self, blocks: Sequence[int]) -> dict[int, int]:
        """Place in the trunk -> number as it was asked for."""
        depth = len(self.trunk.blocks)
        if outside := [i for i in blocks if not -depth <= i < depth]:
            raise ValueError(f"expected block numbers from {-depth} to {depth - 1}, got {outside[0]}")
        return {i % depth: i for i in blocks}

    def forward(
        self, images: Tensor, texts: Sequence[str] | None = None, return_segmentation_logits: bool = False
    ) -> Tensor:
        """Tokens (B, N, D) after the final norm, or with `return_segmentation_logits` the logits (B, h*w)."""
        tokens = self.encode(images, texts).tokens
        return self.segment_tokens(tokens) if return_segmentation_logits else tokens

    def segment_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) -> the head's logits (B, h*w), one per patch, row by row."""
        return self.head(tokens[:, self.trunk.num_prefix_tokens :]).squeeze(-1)

    @torch.no_grad()
    def get_dense_features(self, images: Tensor, texts: Sequence[str] | None = None) -> Tensor:
        """Steered patch features (B, h*w, D), without prefix tokens."""
        return self.encode(images, texts).tokens[:, self.trunk.num_prefix_tokens :]

    @torch.no_grad()
    def get_global_features(self, images: Tensor, texts: Sequence[str] | None = None) -> Tensor:
        """One steered vector per image (B, D): the CLS token, or the patches' mean where the config says so."""
        tokens = self.encode(images, texts).tokens
        if self.config["vision_encoder"].get("feature_aggregation", "cls") == "cls":
            return tokens[:, 0]
        return tokens[:, self.trunk.num_prefix_tokens :].mean(1)

    @torch.no_grad()
    def get_heatmaps(self, images: Tensor, texts: Sequence[str] | None = None) -> Tensor:
        """Softmax over the patches, bilinear to the model's image size: (B, 1, S, S), values in 0..1."""
        logits = self.forward(images, texts, return_segmentation_logits=True)
        maps = logits.float().softmax(-1).view(len(images), 1, *self.grid_size)
        return F.interpolate(maps, size=self.image_size, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def get_attention_heatmaps(
        self,
        images: Tensor,
        texts: Sequence[str] | None = None,
        head_pooling: str = "mean",
        remove_sinks: bool = True,
        interpolate: bool = True,
    ) -> Tensor:
        """Last block's CLS-to-patch attention, min-max scaled: (B, S, S), or (B, h, w) not interpolated, 0..1.

        Raises ValueError for trunks without a CLS token.
        """
        if not self.trunk.num_prefix_tokens:
            raise ValueError("expected a trunk with a CLS token; this one pools its patches and has none")
        attention = self.encode(images, texts, attention=True).cls_attention
        assert attention is not None  # asked for in the line above
        maps = pool_heads(attention.float(), head_pooling).view(-1, *self.grid_size)
        maps = suppress_sinks(maps) if remove_sinks else maps
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        maps = (maps - low) / (high - low + 1e-6)
        if not interpolate:
            return maps
        return F.interpolate(maps[:, None], size=self.image_size, mode="bilinear", align_corners=False)[:, 0]

    # A prompt ensemble -------------------------------------------------------------------------------

    @torch.inference_mode()
    def prepare(self, texts: Sequence[str]) -> PromptBank:
        """Encode, connect and fold a list of prompts once; the result serves any number of images."""
        text, mask = self.encode_text(texts)
        layers = {int(i): layer.fold(text, mask) for i, layer in self.cross_attention.items()}
        return PromptBank(tuple(texts), layers).to(self.dtype)

    @torch.inference_mode()
    def segment(self, images: Tensor, prompts: PromptBank, max_tokens: int | None = None) -> Segmentation:
        """Every prompt on every image: (B, 3, S, S) -> `Segmentation`, whose logits are (B, P, h, w) float32.

        Equal to the head's logits of P single calls; blocks before the first cross-attention run once per
        image. `max_tokens` bounds the tokens held at a time (memory; by default chosen for the device).
        """
        if not len(prompts):
            raise ValueError("expected at least one prompt, got an empty prompt bank")
        return run_ensemble(self, images.to(self.device), prompts, max_tokens)


def _moved(part: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """`part` itself when it is there in that precision already, else a copy."""
    first = next(part.parameters())
    if first.device == device and (dtype is None or first.dtype == dtype):
        return part
    return deepcopy(part).to(device=device, dtype=dtype)
