"""Matrix products of inference on a CPU in float32 by way of oneDNN, with what follows a product joined to it.

torch's own products go to MKL, which on CPUs of other makers leaves half of the vector width unused. oneDNN is asked
by the operators that torch's compiler writes for a CPU; they take plain tensors, and no compiler is needed for them.
Elsewhere (GPU, bfloat16, training, a torch without them) these are the plain formulas.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Attention scores held at a time: more than this leaves the cache.
SCORES = 210_000
_FUSED = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def speaks_onednn(x: Tensor) -> bool:
    """Whether products with `x` are faster by way of oneDNN."""
    return (
        _FUSED
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")  # it would have half of a product in bfloat16
        and not torch.compiler.is_exporting()  # a graph is for other runtimes, whose products are their own
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., D) by `weight` (E, D), plus `bias` (E,) -> (..., E)."""
    if not speaks_onednn(x):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "none")


def products(x: Tensor, weights: Tensor, biases: Tensor | None = None) -> Tensor:
    """x (B, N, D), each by its own of `weights` (B, E, D), plus its own of `biases` (B, E) -> (B, N, E)."""
    if not speaks_onednn(x):
        found = x @ weights.transpose(1, 2)
        return found if biases is None else found + biases[:, None]
    added = [None] * len(x) if biases is None else biases
    return torch.stack([product(*one) for one in zip(x, weights, added, strict=True)])


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer(x)` for x (..., D)."""
    return product(x, layer.weight, layer.bias)


def feed_forward(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """`second(gelu(first(x)))` for x (..., D)."""
    if not speaks_onednn(x):
        return second(F.gelu(first(x)))
    hidden = torch.ops.mkldnn._linear_pointwise(x, first.weight, first.bias, "gelu", [], "none")
    return linear(hidden, second)


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
            out[sample, start : start + rows, head] = product(product(piece, key).softmax(-1), value)
    return out
