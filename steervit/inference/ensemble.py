"""A prompt ensemble in one pass: many prompts on the same image share all they can.

Text is projected and folded once per prompt list (`FoldedText`); patch embedding and every block before the
first cross-attention run once per image; the rest is one batch of images x prompts, split to fit memory.
Letters: B images, P prompts, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anomaly.evidence.self_similarity import standard_scores, unlikeness
from steervit.inference.fast_block import run_block
from steervit.modeling.cross_attention import FoldedText
from steervit.modeling.trunk import embed_and_describe
from steervit.nano.filters import oddness

if TYPE_CHECKING:
    from steervit.modeling.model import SteerViT

# Tokens held at a time. A CPU in fp32 likes pieces that stay in its cache; bf16 products and GPUs like more.
CPU_TOKENS = {torch.float32: 1_200, torch.bfloat16: 6_000}
GPU_TOKENS = 120_000


@dataclass(frozen=True)
class PromptBank:
    """Prompts ready for `SteerViT.segment`: the sentences, and per steered block their folded form."""

    texts: tuple[str, ...]
    layers: dict[int, FoldedText]

    def __len__(self) -> int:
        return len(self.texts)

    def split(self, size: int) -> list[PromptBank]:
        """Banks of at most `size` prompts each, in order."""
        return [
            PromptBank(self.texts[i : i + size], {n: text[i : i + size] for n, text in self.layers.items()})
            for i in range(0, len(self), size)
        ]

    def to(self, *args, **kwargs) -> PromptBank:
        """On another device or in another precision, with the arguments of `Tensor.to`."""
        layers = {i: folded.to(*args, **kwargs) for i, folded in self.layers.items()}
        return PromptBank(self.texts, layers)


def run_ensemble(
    model: SteerViT,
    images: Tensor,
    prompts: PromptBank,
    max_tokens: int | None,
    self_similarity: float | Sequence[float] = 0.0,
) -> Tensor:
    """Images (B, 3, S, S), B any number -> logits (B, P, h*w) float32, `self_similarity` x unlikeness added."""
    weights = torch.as_tensor(self_similarity, dtype=torch.float32)
    asked, weights = bool(weights.any()), weights.to(images.device).view(1, -1, 1)
    on_cpu = images.device.type == "cpu"
    budget = max_tokens or (CPU_TOKENS.get(images.dtype, 1_200) if on_cpu else GPU_TOKENS)
    tokens = model.grid_size[0] * model.grid_size[1] + model.trunk.num_prefix_tokens
    pairs = max(1, budget // tokens)  # images x prompts that fit
    prompts_at_once = min(len(prompts), pairs)
    parts = prompts.split(prompts_at_once)
    logits = []
    for batch in images.split(max(1, pairs // prompts_at_once)):
        shared, features = _shared_tokens(model, batch, prompts)
        flat = shared.flatten(0, 1)[None]  # (1, B*N, D), the same for every prompt
        found = torch.cat([_steer(model, flat, len(batch), part) for part in parts], 1)
        if asked:
            found = found + weights * _unlikeness(model, shared, features)[:, None]
        logits.append(found)
    return torch.cat(logits)


def _steered_from(model: SteerViT, prompts: PromptBank) -> int:
    # The first block that text changes; all blocks when omega is 0.
    return min(prompts.layers) if model.omega != 0 and prompts.layers else len(model.trunk.blocks)


def _shared_tokens(model: SteerViT, images: Tensor, prompts: PromptBank) -> tuple[Tensor, Tensor | None]:
    # (B, N, D) before the first steered block, and what nano's filters gave.
    x, features = embed_and_describe(model.trunk, images)
    for block in model.trunk.blocks[: _steered_from(model, prompts)]:
        x = run_block(block, x)
    return x, features


def _unlikeness(model: SteerViT, shared: Tensor, features: Tensor | None) -> Tensor:
    # nano's filters were made for the question; other trunks are asked before text has touched their tokens.
    if features is not None:
        return standard_scores(oddness(features))
    return unlikeness(shared[:, model.trunk.num_prefix_tokens :])


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
