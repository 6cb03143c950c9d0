"""A prompt ensemble in one pass: many prompts on the same image share all they can.

Text is projected and folded once per prompt list (`FoldedText`); patch embedding and every block before the
first cross-attention run once per image; the rest is one batch of images x prompts, split to fit memory.
Letters: B images, P prompts, N tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steervit.cross_attention import FoldedText
from steervit.trunk import embed

if TYPE_CHECKING:
    from steervit.model import SteerViT

CPU_TOKENS = 6_000  # about ten prompts on one 24 x 24 grid; more only spills the caches
GPU_TOKENS = 120_000


@dataclass(frozen=True)
class PromptBank:
    """Prompts ready for `SteerViT.segment`: the sentences, and per steered block their folded form."""

    texts: tuple[str, ...]
    layers: dict[int, FoldedText]

    def __len__(self) -> int:
        return len(self.texts)


def run_ensemble(model: SteerViT, images: Tensor, prompts: PromptBank, max_tokens: int | None) -> Tensor:
    """Images (B, 3, S, S), B any number -> logits (B, P, h*w) float32."""
    budget = max_tokens or (CPU_TOKENS if images.device.type == "cpu" else GPU_TOKENS)
    tokens_per_image = (model.grid_size[0] * model.grid_size[1] + model.trunk.num_prefix_tokens) * len(prompts)
    step = max(1, budget // tokens_per_image)
    return torch.cat([_segment_batch(model, batch, prompts) for batch in images.split(step)])


def _segment_batch(model: SteerViT, images: Tensor, prompts: PromptBank) -> Tensor:
    batch, shared = len(images), True
    x = embed(model.trunk, images)  # (B, N, D), as long as all prompts share it
    for i, block in enumerate(model.trunk.blocks):
        if i in prompts.layers and model.omega != 0:
            x = x.flatten(0, 1)[None] if shared else x.unflatten(0, (-1, batch)).flatten(1, 2)
            x = model.cross_attention[str(i)].forward_folded(x, prompts.layers[i], model.omega)
            x = x.unflatten(1, (batch, -1)).flatten(0, 1)  # (P, B*N, D) -> (P*B, N, D)
            shared = False
        x = block(x)
    logits = model.segment_tokens(model.trunk.norm(x)).float()
    if shared:  # no steering: every prompt sees the plain trunk
        return logits[:, None].expand(-1, len(prompts), -1)
    return logits.unflatten(0, (len(prompts), batch)).transpose(0, 1)
