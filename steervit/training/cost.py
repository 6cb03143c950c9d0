"""What a training step costs: parameters, floating-point operations, expected time. Knows shapes only.

Letters: B samples, N image tokens, L text tokens, D trunk width, I inner width of cross-attention.
"""

from __future__ import annotations

import time

import torch

from steervit.modeling.model import SteerViT

TEXT_TOKENS = 8  # of a typical expression, for estimates


def parameter_counts(model: SteerViT) -> dict[str, int]:
    """Parameters by part: cross-attention, connector, head, trunk, text encoder."""
    parts = {
        "cross-attention": model.cross_attention,
        "connector": model.connector,
        "head": model.head,
        "trunk": model.trunk,
        "text encoder": model.text_encoder,
    }
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None
    }


def step_flops(
    model: SteerViT,
    batch: int,
    trainable: str,
    text_tokens: int = TEXT_TOKENS,
    patches: int | None = None,
    sentences: int = 1,
) -> float:
    """Multiply-adds x 2 that one update needs, forward and backward, text features taken from the cache.

    A frozen block costs its forward pass, and from the first steered block on as much again for the gradient
    of its input; a layer that learns costs a third pass, for its weights. Patch embedding, norms and a text
    tower that learns are left out. `patches` of an image are seen, by default all, and from the first steered
    block on once per sentence.
    """
    tokens = (patches or model.grid_size[0] * model.grid_size[1]) + model.trunk.num_prefix_tokens
    width, depth = model.feature_dim, len(model.trunk.blocks)
    mlp = model.trunk.blocks[0].mlp.fc1.out_features
    block = 2 * tokens * (4 * width**2 + 2 * width * mlp) + 4 * tokens**2 * width
    first = min(min(map(int, model.cross_attention)), depth)
    before, after = (3, 3) if trainable == "all" else (1, 2)
    blocks = (before * first + after * sentences * (depth - first)) * block
    steering = sum(
        _layer_flops(layer, tokens, width, text_tokens) for layer in model.cross_attention.values()
    )
    return batch * (blocks + 3 * sentences * steering)


def _layer_flops(layer, tokens: int, width: int, text_tokens: int) -> float:
    inner = layer.cross_attn.to_q.out_features
    attention = 2 * (
        2 * tokens * width * inner + 2 * text_tokens * width * inner + 2 * tokens * text_tokens * inner
    )
    ffn = 0 if layer.ff is None else 4 * tokens * width * layer.ff[1].out_features
    return attention + ffn


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int | None = None, tries: int = 4) -> float:
    """Best rate of a square matrix product here, in FLOP/s."""
    size = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
