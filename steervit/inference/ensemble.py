"""A prompt ensemble in one pass: many prompts on the same image share all they can.

Text is projected and folded once per prompt list (`FoldedText`); patch embedding and every block before the
first cross-attention run once per image; the rest is one batch of images x prompts, split to fit memory.
Letters: B images, P prompts, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from steervit.inference.cascade import cascaded
from steervit.inference.fast_block import run_block
from steervit.modeling.cross_attention import FoldedText
from steervit.modeling.trunk import describe
from steervit.nano.trunk import Described

if TYPE_CHECKING:
    from steervit.modeling.model import SteerViT

# Tokens held at a time. A CPU in fp32 likes pieces that stay in its cache; bf16 products and GPUs like more.
CPU_TOKENS = {torch.float32: 1_200, torch.bfloat16: 6_000}
GPU_TOKENS = 120_000


@dataclass(frozen=True)
class PromptBank:
    """Prompts ready for `SteerViT.segment`: the sentences, and per steered block their folded form.

    Of a cascade `groups` counts the prompts that `first` holds as one.
    """

    texts: tuple[str, ...]
    layers: dict[int, FoldedText]
    first: PromptBank | None = None
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def split(self, size: int) -> list[PromptBank]:
        """Banks of at most `size` prompts each, in order."""
        return [
            PromptBank(self.texts[i : i + size], {n: text[i : i + size] for n, text in self.layers.items()})
            for i in range(0, len(self), size)
        ]

    def fused(self, groups: Sequence[int]) -> PromptBank:
        """Consecutive groups of so many prompts, each run as one: the mean of their maps to first order.

        At every steered block the stream of a group is changed by the mean of what its prompts would do to it, as if
        they did not drive it apart; one pass through the trunk then serves the group.
        """
        starts = [sum(groups[:number]) for number in range(len(groups))]
        pieces = [slice(start, start + size) for start, size in zip(starts, groups, strict=True) if size]
        layers = {}
        for i, text in self.layers.items():
            merged = [text[piece].merged() for piece in pieces]
            layers[i] = FoldedText.listed(merged)
        return PromptBank(tuple(" | ".join(self.texts[piece]) for piece in pieces), layers)

    def cascaded(self, groups: Sequence[int]) -> PromptBank:
        """The same prompts, run by groups first and one by one only where it matters: see `inference.cascade`."""
        return replace(self, first=self.fused(groups), groups=tuple(size for size in groups if size))

    def to(self, *args, **kwargs) -> PromptBank:
        """On another device or in another precision, with the arguments of `Tensor.to`."""
        layers = {i: folded.to(*args, **kwargs) for i, folded in self.layers.items()}
        return replace(self, layers=layers, first=self.first and self.first.to(*args, **kwargs))


@dataclass(frozen=True)
class Segmentation:
    """What one pass of a prompt ensemble gives of B images.

    `logits` (B, P, h, w) float32, one map per prompt. `tokens` (B, h*w, D): the patches before text touched them.
    `described`: what the trunk's patch embedding says of each patch, None where it says nothing.
    """

    logits: Tensor
    tokens: Tensor
    described: Described | None = None

    @property
    def maps(self) -> np.ndarray:
        """The logits as an array."""
        return self.logits.cpu().numpy()

    def split(self, size: int) -> list[Segmentation]:
        """The same, `size` images at a time."""
        pieces = [slice(i, i + size) for i in range(0, len(self.logits), size)]
        return [
            Segmentation(self.logits[p], self.tokens[p], self.described and self.described[p]) for p in pieces
        ]


def run_ensemble(
    model: SteerViT, images: Tensor, prompts: PromptBank, max_tokens: int | None = None
) -> Segmentation:
    """Images (B, 3, S, S), B any number -> logits of every prompt, and what was computed on the way to them."""
    on_cpu = images.device.type == "cpu"
    budget = max_tokens or (CPU_TOKENS.get(model.dtype, 1_200) if on_cpu else GPU_TOKENS)
    per_image = model.grid_size[0] * model.grid_size[1] + model.trunk.num_prefix_tokens
    pairs = max(1, budget // per_image)  # images x prompts that fit
    prompts_at_once = len(prompts) if prompts.first is not None else min(len(prompts), pairs)
    parts = prompts.split(prompts_at_once) if prompts_at_once < len(prompts) else [prompts]
    found = [
        _segment_piece(model, piece, prompts, parts)
        for piece in images.split(max(1, pairs // prompts_at_once))
    ]
    return _joined(found, model.grid_size)


def _segment_piece(
    model: SteerViT, images: Tensor, prompts: PromptBank, parts: list[PromptBank]
) -> Segmentation:
    # Logits are (B, P, h*w) here.
    entering, described = describe(model.trunk, images)
    shared = before_text(model, entering, prompts)
    logits = torch.cat([after_text(model, shared, part) for part in parts], 1)
    return Segmentation(logits, shared[:, model.trunk.num_prefix_tokens :], described)


def before_text(model: SteerViT, x: Tensor, prompts: PromptBank) -> Tensor:
    """Tokens that enter the first block (B, N, D) -> those that text is about to change, the same for every prompt."""
    for block in model.trunk.blocks[: _steered_from(model, prompts)]:
        x = run_block(block, x)
    return x


def after_text(model: SteerViT, shared: Tensor, prompts: PromptBank) -> Tensor:
    """Tokens from `before_text` (B, N, D) -> the head's logits of every prompt, (B, P, h*w) float32."""
    if prompts.first is not None and model.omega != 0:
        return cascaded(model, shared, prompts, _steered_from(model, prompts))
    return _steer(model, shared.flatten(0, 1)[None], shared.shape[0], prompts)  # (1, B*N, D) for all prompts


def _joined(found: list[Segmentation], grid: tuple[int, int]) -> Segmentation:
    logits = torch.cat([one.logits for one in found]).unflatten(-1, grid)
    tokens = torch.cat([one.tokens for one in found])
    described = [one.described for one in found if one.described is not None]
    return Segmentation(logits, tokens, Described.joined(described) if described else None)


def _steered_from(model: SteerViT, prompts: PromptBank) -> int:
    # The first block that text changes; all blocks when omega is 0.
    return min(prompts.layers) if model.omega != 0 and prompts.layers else len(model.trunk.blocks)


def _steer(model: SteerViT, x: Tensor, batch: int, prompts: PromptBank) -> Tensor:
    first = _steered_from(model, prompts)
    for i, block in enumerate(model.trunk.blocks[first:], first):
        if i in prompts.layers:
            x = model.cross_attention[str(i)].forward_folded(x, prompts.layers[i], model.omega)
        x = run_block(block, x.unflatten(1, (batch, -1)).flatten(0, 1))  # (P*B, N, D)
        x = x.unflatten(0, (-1, batch)).flatten(1, 2)  # (P, B*N, D)
    for i, folded in prompts.layers.items():
        if i >= len(model.trunk.blocks) and model.omega != 0:  # late fusion
            x = model.cross_attention[str(i)].forward_folded(x, folded, model.omega)
    x = model.trunk.norm(x).unflatten(1, (batch, -1)).flatten(0, 1)
    logits = model.segment_tokens(x).float().unflatten(0, (-1, batch)).transpose(0, 1)  # (B, P or 1, h*w)
    return logits.expand(-1, len(prompts), -1)
