"""A cascade: all prompts as one everywhere, then each prompt by itself for the few patches where that says most.

Those patches ask what the others were in the first pass, so a prompt costs as many tokens as it looks at. An image
decides alone which they are, whatever else is in the batch.
Letters: B images, P prompts, G groups of prompts that were run as one, N tokens, k tokens looked at again, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from steervit.inference.fast_block import run_block, run_block_among

if TYPE_CHECKING:
    from steervit.inference.ensemble import PromptBank
    from steervit.modeling.model import SteerViT

SHARE = 1 / 8  # of the patches, those highest in the first group's map


def cascaded(model: SteerViT, shared: Tensor, prompts: PromptBank, start: int) -> Tensor:
    """Tokens that enter block `start` (B, N, D), the first that text steers -> logits of every prompt, (B, P, h*w)."""
    assert prompts.first is not None
    prefix = model.trunk.num_prefix_tokens
    entering, first = _together(model, shared, prompts.first, start)
    places = first[:, 0].topk(max(1, round(SHARE * first.shape[-1])), -1).indices  # (B, k)
    chosen = shared.gather(1, (places + prefix)[..., None].expand(-1, -1, shared.shape[-1]))
    found = _each(model, chosen, prompts, entering)
    groups = [first[:, g : g + 1].expand(-1, size, -1) for g, size in enumerate(prompts.groups)]
    return torch.cat(groups, 1).scatter(2, places[:, None].expand(-1, found.shape[1], -1), found)


def _together(
    model: SteerViT, shared: Tensor, groups: PromptBank, start: int
) -> tuple[dict[int, Tensor], Tensor]:
    """What enters each block after its text, (G, B, N, D) by block, and the logits (B, G, h*w)."""
    batch, entering = shared.shape[0], {}
    x = shared.flatten(0, 1)[None]  # (1, B*N, D) for all groups
    for i, block in enumerate(model.trunk.blocks[start:], start):
        x = _steered(model, x, groups, i)
        entering[i] = x.unflatten(1, (batch, -1))
        x = run_block(block, entering[i].flatten(0, 1)).unflatten(0, (-1, batch)).flatten(1, 2)
    return entering, _logits(model, _late(model, x, groups), batch, model.trunk.num_prefix_tokens)


def _each(model: SteerViT, chosen: Tensor, prompts: PromptBank, entering: dict[int, Tensor]) -> Tensor:
    """Tokens (B, k, D) by every prompt among what the first pass had of the others -> logits (B, P, k)."""
    batch, y = chosen.shape[0], chosen.flatten(0, 1)[None]
    for i, others in entering.items():
        y = _steered(model, y, prompts, i).unflatten(1, (batch, -1))  # (P, B, k, D)
        done = []
        for group, asking in enumerate(y.split(list(prompts.groups))):
            asked = asking.transpose(0, 1).flatten(1, 2)  # (B, prompts of the group * k, D)
            asked = run_block_among(model.trunk.blocks[i], asked, others[group])
            done.append(asked.unflatten(1, (len(asking), -1)).transpose(0, 1))
        y = torch.cat(done).flatten(1, 2)
    return _logits(model, _late(model, y, prompts), batch, 0)


def _steered(model: SteerViT, x: Tensor, prompts: PromptBank, i: int) -> Tensor:
    if i not in prompts.layers:
        return x
    return model.cross_attention[str(i)].forward_folded(x, prompts.layers[i], model.omega)


def _late(model: SteerViT, x: Tensor, prompts: PromptBank) -> Tensor:
    for i in prompts.layers:
        if i >= len(model.trunk.blocks):
            x = _steered(model, x, prompts, i)
    return x


def _logits(model: SteerViT, x: Tensor, batch: int, prefix: int) -> Tensor:
    x = model.trunk.norm(x).unflatten(1, (batch, -1))[:, :, prefix:]  # (P, B, k, D)
    return model.head(x).squeeze(-1).float().transpose(0, 1)
