"""Matrix products of inference on a CPU in float32 by way of oneDNN, which torch asks for tensors in its layout only.

torch's own products go to MKL, which on CPUs of other makers leaves half of the vector width unused; one
conversion in and one out, with everything between them in oneDNN's layout, cost less than that.
Elsewhere (GPU, bfloat16, training, a torch without oneDNN) these are the plain formulas.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Attention scores held at a time. More than this leaves the cache, and torch asks the system for fresh memory.
SCORES = 380_000


def speaks_onednn(x: Tensor) -> bool:
    """Whether products with `x` are faster by way of oneDNN."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and torch.backends.mkldnn.is_available()
        and not torch.compiler.is_exporting()  # a graph is for other runtimes, whose products are their own
    )


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)` for x (..., D)."""
    if not speaks_onednn(x):
        return layer(x)
    return F.linear(x.to_mkldnn(), layer.weight, layer.bias).to_dense()


def feed_forward(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """`second(gelu(first(x)))` for x (..., D)."""
    if not speaks_onednn(x):
        return second(F.gelu(first(x)))
    hidden = F.gelu(F.linear(x.to_mkldnn(), first.weight, first.bias))
    return F.linear(hidden, second.weight, second.bias).to_dense()


def attention(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Queries, keys, values (B, H, N, K) -> (B, N, H, K): softmax of the scaled products; float32 on a CPU only."""
    out = queries.new_empty(queries.transpose(1, 2).shape)
    tokens = queries.shape[2]
    pieces = -(-tokens * keys.shape[2] // SCORES)
    rows = -(-tokens // pieces)
    for sample, head in [(b, h) for b in range(queries.shape[0]) for h in range(queries.shape[1])]:
        key, value = keys[sample, head] * scale, values[sample, head].T.contiguous()
        for start in range(0, tokens, rows):
            piece = queries[sample, head, start : start + rows]
            weights = F.linear(piece.to_mkldnn(), key).softmax(-1)
            out[sample, start : start + rows, head] = F.linear(weights, value).to_dense()
    return out
