"""nano's trunk: a small vision transformer whose patch embedding is the whitened filter bank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.nano.filters import (
    CELLS,
    FEATURES,
    FINE,
    POOLED,
    cell_maps,
    channels,
    describe_patches,
    mirror,
    oddness,
    patch_features,
)
from steervit.nano.transformer import NanoTransformer


@dataclass(frozen=True)
class Described:
    """What the fixed filters say of B images: `features` (B, N, F) and `oddness` (B, N, 2) of each patch, float32,
    and the responses of the line filters per pixel, (B, 6, S, S), dark lines first."""

    features: Tensor
    oddness: Tensor
    lines: Tensor

    def __getitem__(self, images: slice) -> Described:
        """Some of the images."""
        return Described(*(getattr(self, field.name)[images] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Described]) -> Described:
        """Several batches as one."""
        return cls(*(torch.cat([getattr(one, field.name) for one in parts]) for field in fields(cls)))


class CellStem(nn.Module):
    """Maps of cells (B, 26, 4h, 4w) -> (B, h*w, D): small convolutions that see lines and where they go on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(FINE, 32, 3, padding=1)
        self.halve = nn.Conv2d(32, 48, 3, stride=2, padding=1)
        self.near = nn.Conv2d(48, 48, 3, padding=1)
        self.far = nn.Conv2d(48, 48, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(48, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = F.gelu(self.halve(F.gelu(self.first(x))))
        x = x + F.gelu(self.near(x))
        x = x + F.gelu(self.far(x))
        return self.last(x).flatten(2).transpose(1, 2)


class WhitenedPatchEmbed(nn.Module):
    """Images (B, 3, S, S) in 0..1 -> patch tokens (B, S*S/patch^2, D): fixed filters, then a small MLP and stem.

    The filters run in float32 whatever the precision of the rest, since whitening inverts a matrix.
    Has the attributes of timm's patch embeddings.
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
        self.stem = CellStem(embed_dim)
        self.proj = nn.Sequential(nn.Linear(POOLED, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim))

    def features(self, images: Tensor) -> Tensor:
        """The fixed part: (B, 3, S, S) -> (B, N, F), float32."""
        return patch_features(images.float(), self.patch_size[0])

    def project(self, features: Tensor) -> Tensor:
        """The learned part: (B, N, F) of a square of patches -> (B, N, D)."""
        return self.project_filtered(features)

    def project_filtered(self, features: Tensor) -> Tensor:
        """What is learned of the filters' features: (B, N, F) of a square of patches -> (B, N, D)."""
        features = (features.float() - self.mean.float()) / self.std.float()
        features = features.to(next(self.proj.parameters()).dtype)
        side = math.isqrt(features.shape[1])
        return self.proj(features[..., :POOLED]) + self.stem(cell_maps(features, (side, side)))

    @property
    def channels(self) -> Tensor:
        """For each feature the channel it belongs to, (F,), from 0 on: what is silenced together in training."""
        return channels()

    @property
    def ordinary(self) -> Tensor:
        """The mean of each feature over training images, (F,)."""
        return self.mean

    @staticmethod
    def mirrored(features: Tensor, axes: Sequence[int]) -> Tensor:
        """Features (h, w, F) of the image mirrored along `axes` (0 down, 1 across)."""
        return mirror(features, axes)

    def calibrate(self, features: Tensor) -> None:
        """Set, once, the scale of the features from those of patches of training images, (N, F)."""
        if bool((self.std == 1).all()):  # as it is made
            self.mean.copy_(features.mean(0))
            self.std.copy_(features.std(0) + 1e-3)

    def describe(self, images: Tensor) -> tuple[Tensor, Described]:
        """Images (B, 3, S, S) in 0..1 -> tokens (B, N, D), and what the filters say of each patch."""
        features, lines = describe_patches(images.float(), self.patch_size[0])
        return self.project(features), Described(features, oddness(features), lines)

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
    patch_embed: type[WhitenedPatchEmbed] = WhitenedPatchEmbed,
) -> NanoTransformer:
    """The trunk of `nano`, untrained. `image_size` is a multiple of `patch_size`, that one of 4 (pixels)."""
    if image_size % patch_size or patch_size % CELLS:
        raise ValueError(
            f"expected image_size a multiple of patch_size and patch_size one of {CELLS}, "
            f"got {image_size} and {patch_size}"
        )
    trunk = NanoTransformer(image_size, patch_size, width, depth, heads, mlp_ratio, patch_embed)
    trunk.pretrained_cfg = {
        "input_size": (3, image_size, image_size),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    return trunk
