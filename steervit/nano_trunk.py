"""nano's trunk: a small timm `VisionTransformer` whose patch embedding is the whitened filter bank."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from steervit.filters import FEATURES, patch_features


class WhitenedPatchEmbed(nn.Module):
    """Images (B, 3, S, S) in 0..1 -> patch tokens (B, S*S/patch^2, D): fixed filters, then a small MLP.

    The filters run in float32 whatever the precision of the rest, since whitening inverts a matrix.
    Has the attributes that timm asks of a patch embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, img_size: int = 256, patch_size: int = 8, in_chans: int = 3, embed_dim: int = 96, **_: object
    ) -> None:
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.img_size = (img_size, img_size)
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        # Fixed scale of each feature, measured once on training images.
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("std", torch.ones(FEATURES))
        self.proj = nn.Sequential(nn.Linear(FEATURES, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim))

    def features(self, images: Tensor) -> Tensor:
        """The fixed part: (B, 3, S, S) -> (B, N, 80), float32."""
        return patch_features(images.float(), self.patch_size[0])

    def project(self, features: Tensor) -> Tensor:
        """The learned part: (B, N, 80) -> (B, N, D)."""
        features = (features.float() - self.mean.float()) / self.std.float()
        return self.proj(features.to(next(self.proj.parameters()).dtype))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in 0..1 -> tokens (B, N, D)."""
        return self.project(self.features(images))


def nano_trunk(
    image_size: int,
    patch_size: int = 8,
    width: int = 96,
    depth: int = 6,
    heads: int = 3,
    mlp_ratio: float = 4.0,
) -> VisionTransformer:
    """The trunk of `nano`, untrained; `image_size` must be a multiple of `patch_size` (pixels)."""
    if image_size % patch_size:
        raise ValueError(f"expected image_size a multiple of the patch size {patch_size}, got {image_size}")
    trunk: Any = VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=mlp_ratio,
        num_classes=0,
        embed_layer=WhitenedPatchEmbed,
    )
    trunk.pretrained_cfg = {
        "input_size": (3, image_size, image_size),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    return trunk
