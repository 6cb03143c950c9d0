"""nano's vision transformer: what timm's `VisionTransformer` is at its defaults, module by module and name by name.

timm's own takes a second to import (torchvision, and with it torch's compiler), which is a third of a first verdict.
Same weights, same names of tensors, same random start. Letters: B images, N tokens, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # of layer norms


class Attention(nn.Module):
    """Self-attention of all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm, self.k_norm, self.norm = nn.Identity(), nn.Identity(), nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        queries, keys, values = (
            self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )
        return self.proj(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """The feed-forward part of a block."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.act, self.norm, self.fc2 = (
            nn.Linear(width, inner),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(inner, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention, then the feed-forward part, each behind a layer norm."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(width, EPS), Attention(width, heads), nn.Identity()
        self.norm2, self.mlp, self.ls2 = (
            nn.LayerNorm(width, EPS),
            Mlp(width, int(width * mlp_ratio)),
            nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class NanoTransformer(nn.Module):
    """Has the attributes of timm's that a SteerViT asks for; `patch_embed` makes its patch embedding."""

    pretrained_cfg: dict[str, Any]

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        patch_embed: Callable[..., Any],
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_prefix_tokens, self.no_embed_class = width, 1, False
        self.patch_embed = patch_embed(
            img_size=image_size, patch_size=patch_size, in_chans=3, embed_dim=width
        )
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.patch_embed.num_patches, width))
        self.patch_drop, self.norm_pre = nn.Identity(), nn.Identity()
        self.blocks = nn.Sequential(*[Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, EPS)
        self._start()

    def _start(self) -> None:
        _draw(self.pos_embed)
        nn.init.normal_(self.cls_token, std=1e-6)
        _draw_linear_layers(self)

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Patch tokens (B, N, D) -> with the class token before them, and positions added, (B, 1 + N, D)."""
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is none to drop."""

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in 0..1 -> tokens (B, 1 + N, D) after the final norm."""
        return self.norm(self.blocks(self._pos_embed(self.patch_embed(images))))

    def forward(self, images: Tensor) -> Tensor:
        """As `forward_features`."""
        return self.forward_features(images)


@torch.no_grad()
def _draw(weight: Tensor) -> None:
    # A normal distribution of deviation 0.02, in the way timm draws it: torch's has changed with its versions.
    weight.uniform_(-1, 1).erfinv_().mul_(0.02 * math.sqrt(2)).clamp_(-2, 2)


def _draw_linear_layers(module: nn.Module) -> None:
    # In timm's order: what is inside before what is around it.
    for child in module.children():
        _draw_linear_layers(child)
    if isinstance(module, nn.Linear):
        _draw(module.weight)
        nn.init.zeros_(module.bias)
