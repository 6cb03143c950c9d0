"""A timm block for inference, with the same weights in fewer passes over memory.

On a CPU the fused attention kernel is slower than plain products on one head at a time, whose scores stay in
the cache; and the layer scale joins the residual sum. Letters: B samples, N tokens, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steervit.inference.onednn import attention, feed_forward, linear, product, speaks_onednn


def run_block(block: Any, x: Tensor) -> Tensor:
    """`block(x)` for x (B, N, D) in eval mode, to rounding."""
    by_head = x.device.type == "cpu" and (x.dtype == torch.bfloat16 or speaks_onednn(x))
    attended = block.norm1(x)
    attended = _attention_by_head(block.attn, attended) if by_head else block.attn(attended)
    x = _add_scaled(x, attended, block.ls1)
    return _add_scaled(x, _mlp(block.mlp, block.norm2(x)), block.ls2)


def run_block_among(block: Any, x: Tensor, others: Tensor) -> Tensor:
    """As `run_block` for tokens x (B, M, D) that attend to `others` (B, N, D) in place of each other."""
    attn = block.attn
    (queries,) = _heads(attn, block.norm1(x), 0, 1)
    keys, values = _heads(attn, block.norm1(others), 1, 3)
    queries, keys = attn.q_norm(queries), attn.k_norm(keys)
    if x.device.type == "cpu" and not torch.compiler.is_exporting():
        inner = attention if speaks_onednn(x) else _in_bfloat16
        attended = inner(queries, keys, values, attn.scale)
    else:
        attended = F.scaled_dot_product_attention(queries, keys, values, scale=attn.scale).transpose(1, 2)
    x = _add_scaled(x, linear(attn.norm(attended.flatten(2)), attn.proj), block.ls1)
    return _add_scaled(x, _mlp(block.mlp, block.norm2(x)), block.ls2)


def _heads(attn: Any, x: Tensor, first: int, last: int) -> Any:
    # Of queries, keys and values those from `first` to `last`, each (B, H, N, K).
    width = attn.qkv.out_features // 3
    rows = slice(first * width, last * width)
    bias = None if attn.qkv.bias is None else attn.qkv.bias[rows]
    found = product(x, attn.qkv.weight[rows], bias)
    return found.unflatten(-1, (last - first, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _mlp(mlp: Any, x: Tensor) -> Tensor:
    # Others have other activations, gates or norms.
    plain = type(mlp).__name__ == "Mlp" and isinstance(mlp.act, nn.GELU) and isinstance(mlp.norm, nn.Identity)
    plain = plain and mlp.act.approximate == "none" and isinstance(mlp.fc1, nn.Linear)
    return feed_forward(x, mlp.fc1, mlp.fc2) if plain else mlp(x)


def _add_scaled(x: Tensor, change: Tensor, scale: Any) -> Tensor:
    return (
        torch.addcmul(x, change, scale.gamma) if type(scale).__name__ == "LayerScale" else x + scale(change)
    )


def _attention_by_head(attn: Any, x: Tensor) -> Tensor:
    queries, keys, values = (
        linear(x, attn.qkv).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    )
    queries, keys = attn.q_norm(queries), attn.k_norm(keys)
    inner = attention if speaks_onednn(x) else _in_bfloat16
    return linear(attn.norm(inner(queries, keys, values, attn.scale).flatten(2)), attn.proj)


def _in_bfloat16(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    # (B, H, N, K) -> (B, N, H, K)
    out = queries.new_empty(queries.transpose(1, 2).shape)
    for sample in range(queries.shape[0]):
        for head in range(queries.shape[1]):
            weights = torch.mm(queries[sample, head] * scale, keys[sample, head].T).softmax(-1)
            out[sample, :, head] = torch.mm(weights, values[sample, head])
    return out
