"""Gated cross-attention: how text enters a frozen vision transformer (paper, section 3).

A layer sits before a trunk block's own LN1 and adds `tanh(omega * gate) * CA(LN(x), text)` to all tokens.
Letters: B images, P prompts, N image tokens, L text tokens, D trunk width, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.inference.onednn import feed_forward


class MaskedCrossAttention(nn.Module):
    """Image tokens ask, text tokens answer. No biases; LayerNorm on the image tokens only.

    `heads` x `head_dim` is the inner width, 16 x 72 = 1152 in every published model whatever D is.
    """

    def __init__(self, dim: int, heads: int = 16, head_dim: int = 72) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        inner = heads * head_dim
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def keys_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Text tokens (P, L, D) -> keys and values, each (P, H, L, K)."""
        keys, values = self.to_kv(text).chunk(2, dim=-1)
        return self._split_heads(keys), self._split_heads(values)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), text (B, L, D), mask (B, L) bool, True where a token is real -> (B, N, D)."""
        keys, values = self.keys_values(text)
        queries = self._split_heads(self.to_q(self.norm(x)))
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None, None, :])
        return self.to_out(out.transpose(1, 2).flatten(2))  # (B, H, N, K) -> (B, N, H*K)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)


@dataclass(frozen=True)
class FoldedText:
    """Prompts with the query and output projections multiplied into them, for inference.

    The score of token x for text token l in head h is `LN(x) Wq_h . k_hl / sqrt(K)`, linear in LN(x), so
    `Wq_h^T k_hl` is a D-vector per (h, l), and so is `v_hl Wo_h`. A prompt of ten tokens then costs two
    products with 16 x 10 columns where queries and outputs cost two with 1152.
    """

    score: Tensor  # (P, D, H*L); LayerNorm's weight and the scale are inside
    bias: Tensor  # (P, 1, H*L); LayerNorm's bias, and -inf where a text token is padding
    value: Tensor  # (P, H*L, D)
    heads: int

    def __getitem__(self, prompts: slice) -> FoldedText:
        """Some of the prompts."""
        return FoldedText(self.score[prompts], self.bias[prompts], self.value[prompts], self.heads)

    @classmethod
    def listed(cls, prompts: Sequence[FoldedText]) -> FoldedText:
        """Single prompts, of any number of heads, as a list; those of fewer get heads that add nothing."""
        most = max(one.heads for one in prompts)
        same = [one._with_heads(most) for one in prompts]
        columns = zip(*((one.score, one.bias, one.value) for one in same), strict=True)
        score, bias, value = (torch.cat(one) for one in columns)
        return cls(score, bias, value, most)

    def _with_heads(self, heads: int) -> FoldedText:
        tokens = self.value.shape[1] // self.heads
        more = (heads - self.heads) * tokens
        return FoldedText(
            F.pad(self.score, (0, more)),
            F.pad(self.bias, (0, more)),
            F.pad(self.value, (0, 0, 0, more)),
            heads,
        )

    def merged(self) -> FoldedText:
        """All prompts as one, which adds the mean of what each of them would add: (1, …), P times the heads."""
        prompts = self.score.shape[0]
        return FoldedText(
            self.score.transpose(0, 1).flatten(1)[None],
            self.bias.flatten()[None, None],
            (self.value / prompts).flatten(0, 1)[None],
            self.heads * prompts,
        )

    def to(self, *args, **kwargs) -> FoldedText:
        """On another device or in another precision, with the arguments of `Tensor.to`."""
        score, bias, value = (tensor.to(*args, **kwargs) for tensor in (self.score, self.bias, self.value))
        return FoldedText(score, bias, value, self.heads)


class GatedCrossAttention(nn.Module):
    """One steering layer: cross-attention behind a tanh gate, and optionally a gated feed-forward network.

    `omega` scales the raw gate before tanh; gates start at 0, so an untrained layer changes nothing.
    """

    def __init__(
        self, dim: int, heads: int = 16, head_dim: int = 72, ffn_mult: float | None = None, gated: bool = True
    ) -> None:
        super().__init__()
        self.cross_attn = MaskedCrossAttention(dim, heads, head_dim)
        self.gated = gated
        if gated:
            self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff: nn.Sequential | None = None
        if ffn_mult is not None:
            inner = int(dim * ffn_mult)
            self.ff = nn.Sequential(
                nn.LayerNorm(dim),
                nn.Linear(dim, inner, bias=False),
                nn.GELU(),
                nn.Linear(inner, dim, bias=False),
            )
            if gated:
                self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, text: Tensor, mask: Tensor, omega: float = 1.0) -> Tensor:
        """x (B, N, D), text (B, L, D), mask (B, L) bool -> steered tokens (B, N, D)."""
        x = x + self._strength("attn_gate", omega) * self.cross_attn(x, text, mask)
        return self._feed_forward(x, omega)

    def fold(self, text: Tensor, mask: Tensor) -> FoldedText:
        """text (P, L, D), mask (P, L) -> the prompts ready for `forward_folded`. Computed in float32."""
        attn = self.cross_attn
        keys, values = (
            attn._split_heads(x) for x in (text.float() @ attn.to_kv.weight.float().T).chunk(2, -1)
        )
        w_q = attn.to_q.weight.float().unflatten(0, (attn.heads, attn.head_dim))  # (H, K, D)
        w_o = attn.to_out.weight.float().unflatten(1, (attn.heads, attn.head_dim))  # (D, H, K)
        raw = torch.einsum("phlk,hkd->pdhl", keys, w_q).flatten(2) * attn.head_dim**-0.5
        bias = (attn.norm.bias.float() @ raw)[:, None, :]
        padding = ~mask[:, None, :].expand(-1, attn.heads, -1).flatten(1)[:, None, :]
        value = torch.einsum("phlk,dhk->phld", values, w_o).flatten(1, 2)
        score = raw * attn.norm.weight.float()[:, None]
        return FoldedText(score, bias.masked_fill(padding, float("-inf")), value, attn.heads)

    def forward_folded(self, x: Tensor, folded: FoldedText, omega: float = 1.0) -> Tensor:
        """x (P, M, D), M tokens of any number of images per prompt, or (1, M, D) shared -> (P, M, D)."""
        norm = self.cross_attn.norm
        x_hat = F.layer_norm(x, norm.normalized_shape, eps=norm.eps)
        prompts = folded.score.shape[0]
        columns = x_hat.transpose(1, 2).expand(prompts, -1, -1)
        # (P, H*L, M): a softmax over a few text tokens is fast only with the many image tokens innermost.
        scores = torch.baddbmm(folded.bias.transpose(1, 2), folded.score.transpose(1, 2), columns)
        weights = scores.unflatten(1, (folded.heads, -1)).softmax(2).flatten(1, 2).transpose(1, 2)
        value = folded.value * self._strength("attn_gate", omega)
        x = torch.baddbmm(x.expand(prompts, -1, -1), weights, value)
        return self._feed_forward(x, omega)

    def _feed_forward(self, x: Tensor, omega: float) -> Tensor:
        if self.ff is None:
            return x
        norm, first, second = self.ff[0], cast(nn.Linear, self.ff[1]), cast(nn.Linear, self.ff[3])
        change = feed_forward(norm(x), first, second)
        return x + self._strength("ff_gate", omega) * change

    def _strength(self, gate: str, omega: float) -> Tensor | float:
        return torch.tanh(omega * getattr(self, gate)) if self.gated else omega
