"""A SteerViT as fixed graphs for runtimes without torch: one that looks, and one that text steers.

Text is folded into them, so no text tower is needed to run them. The split keeps what has to stay in float32 (nano's
filters) apart from what may run in a lower precision. Letters: B images, S pixels a side, N tokens, D width,
P prompts, h x w patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steervit.inference.ensemble import PromptBank, after_text, before_text
from steervit.modeling.cross_attention import FoldedText
from steervit.modeling.trunk import describe
from steervit.nano.trunk import Described

if TYPE_CHECKING:
    from steervit.modeling.model import SteerViT

SILENT = -1e4  # a score whose softmax is exactly 0; minus infinity is no number for a quantiser


class PatchGraph(nn.Module):
    """RGB tiles uint8 (B, S, S, 3) -> the tokens that enter the first block, (B, N, D) float32.

    `mean` and `std` are of the three colours, 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: SteerViT, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.trunk = model.trunk
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def described(self, tiles: Tensor) -> tuple[Tensor, Described | None]:
        """The tokens, and what the trunk's patch embedding says of each patch, if anything."""
        return describe(self.trunk, self.pixels(tiles))

    def pixels(self, tiles: Tensor) -> Tensor:
        """Tiles uint8 (B, S, S, 3) -> normalised (B, 3, S, S)."""
        return (tiles.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        return self.described(tiles)[0]


class NetworkGraph(PatchGraph):
    """RGB tiles uint8 (B, S, S, 3) -> what nano's network adds to the tokens of patches, (B, N, D) float32."""

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        embed: Any = self.trunk.patch_embed
        return embed.project_seen(embed.seen(self.pixels(tiles))).float()


class FilteredGraph(nn.Module):
    """Features of nano's filters (B, N, F) -> the tokens that enter the first block, (B, N, D) float32.

    What `NetworkGraph` gives is to be added to those of patches, the last ones.
    """

    def __init__(self, model: SteerViT) -> None:
        super().__init__()
        self.trunk: Any = model.trunk

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        x = self.trunk._pos_embed(self.trunk.patch_embed.project_filtered(features))
        return self.trunk.norm_pre(self.trunk.patch_drop(x)).float()


class PromptGraph(nn.Module):
    """Tokens that enter the first block (B, N, D) -> logits (B, P, h, w), and the patches before text, (B, h*w, D)."""

    def __init__(self, model: SteerViT, prompts: PromptBank) -> None:
        super().__init__()
        self.model, self.prompts = model, _with_finite_scores(prompts)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        shared = before_text(self.model, x, self.prompts)
        logits = after_text(self.model, shared, self.prompts).unflatten(-1, self.model.grid_size)
        return logits, shared[:, self.model.trunk.num_prefix_tokens :]


def _with_finite_scores(prompts: PromptBank) -> PromptBank:
    layers = {
        i: FoldedText(text.score, text.bias.clamp_min(SILENT), text.value, text.heads)
        for i, text in prompts.layers.items()
    }
    return replace(prompts, layers=layers, first=prompts.first and _with_finite_scores(prompts.first))
