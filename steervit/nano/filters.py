"""A fixed bank of local filters with per-image whitening: what nano sees of an image.

A small network does not learn "odd compared with what?" from pixels, so the answer is given to it: filter
responses standardised and decorrelated over this one image. Nothing here is learned or random.
Patches are described as a whole and by a grid of cells, in which lines keep their course.
Letters: B images, F filters, H x W pixels, h x w patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from steervit.nano.host_filters import (
    CELLS,
    EPSILON,
    FILTERS,
    FINE,
    NEIGHBOURS,
    OTHERS,
    POOLED,
    SAME,
    host_patches,
)
from steervit.nano.host_filters import FEATURES as FEATURES
from steervit.nano.ridges import ridges

CHANNELS = POOLED + FINE  # all cells of a patch share the last ones


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of (B, C, H, W) with reflected borders; wide ones on a quarter-size copy."""
    if sigma > 6 and min(x.shape[-2:]) >= 32:
        small = gaussian_blur(F.avg_pool2d(x, 4), sigma / 4)
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
    radius = min(int(3 * sigma + 0.5), min(x.shape[-2:]) - 1)
    half = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(radius + 1)]
    half = [weight / (2 * sum(half) - half[0]) for weight in half]
    x = _weighted(F.pad(x, (radius, radius, 0, 0), mode="reflect"), half, 3)
    return _weighted(F.pad(x, (0, 0, radius, radius), mode="reflect"), half, 2)


def _weighted(x: Tensor, half: Sequence[float], dim: int) -> Tensor:
    # Shifted sums: on a CPU twice as fast as a convolution, which has no use for one channel in and one out.
    radius = len(half) - 1
    size = x.shape[dim] - 2 * radius
    total = x.narrow(dim, radius, size) * half[0]
    for distance in range(1, radius + 1):
        pair = x.narrow(dim, radius - distance, size) + x.narrow(dim, radius + distance, size)
        total.add_(pair, alpha=half[distance])
    return total


def _sobel(g: Tensor) -> Tensor:
    # (B, 1, H, W) -> (B, 2, H, W): the slope across, the slope down.
    g = F.pad(g, (1, 1, 1, 1), mode="reflect")
    down = g[..., :-2, :] + 2 * g[..., 1:-1, :] + g[..., 2:, :]
    across = g[..., :-2] + 2 * g[..., 1:-1] + g[..., 2:]
    return torch.cat([down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]], 1)


def _widest(x: Tensor, size: int, dim: int) -> Tensor:
    # Largest value within `size` (odd) pixels along `dim`, by doubling: pooling compares every pixel anew.
    pad = [0, 0, 0, 0]
    pad[2 * (3 - dim)] = pad[2 * (3 - dim) + 1] = size // 2
    x, reach = F.pad(x, pad, value=float("-inf")), 1
    while reach < size:
        step = min(reach, size - reach)
        rest = x.shape[dim] - step
        x = torch.maximum(x.narrow(dim, 0, rest), x.narrow(dim, step, rest))
        reach += step
    return x


def _hats(g: Tensor, size: int) -> Tensor:
    # Black-hat and top-hat: thin dark and thin bright structures narrower than `size` pixels.
    def dilate(x: Tensor) -> Tensor:
        return _widest(_widest(x, size, 3), size, 2)

    closed, opened = -dilate(-dilate(g)), dilate(-dilate(-g))
    return torch.cat([closed - g, g - opened], dim=1)


def filter_bank(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0..1 -> responses (B, 25, H, W): colour, edges, blobs, contrast, lines."""
    red, green, blue = images.unbind(1)
    grey = images.mean(1, keepdim=True)
    opponents = torch.stack([red - green, blue - 0.5 * (red + green)], 1)
    colours, both = gaussian_blur(images, 1), gaussian_blur(torch.cat([grey, opponents], 1), 2)
    blurred = {1: colours.mean(1, keepdim=True), 2: both[:, :1]}
    blurred |= {sigma: gaussian_blur(grey, sigma) for sigma in (4, 8, 20)}
    edges = [gaussian_blur(_sobel(blurred[sigma]).abs(), 2 * sigma) for sigma in (1, 2, 4)]
    blobs = [blurred[a] - blurred[b] for a, b in ((1, 2), (2, 4), (4, 8), (2, 20))]
    contrast = both[:, 1:] - gaussian_blur(opponents, 10)
    hats = [_hats(gaussian_blur(grey, 0.7), 5), _hats(blurred[1], 11)]
    return torch.cat([colours, *edges, *blobs, contrast, *hats, ridges(grey)], 1)


def inverse_square_root(matrix: Tensor, steps: int = 18) -> Tensor:
    """Inverse square root of symmetric positive matrices (B, F, F), by coupled Newton-Schulz iteration."""
    scale = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    y, z = matrix / scale, identity.expand_as(matrix)
    for _ in range(steps):
        t = 0.5 * (3 * identity - z @ y)
        y, z = y @ t, t @ z
    return z / scale.sqrt()


def unmixing(centred: Tensor) -> tuple[Tensor, Tensor]:
    """What standardises and decorrelates responses within each image (ZCA).

    Responses less their mean (B, F, N) -> the matrix that whitens them (B, F, F), standard deviations (B, F, 1).
    """
    covariance = centred @ centred.transpose(1, 2) / centred.shape[-1]
    std = covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()[..., None] + 1e-4
    correlation = covariance / (std * std.transpose(1, 2))
    ridge = EPSILON * torch.eye(centred.shape[1], dtype=centred.dtype, device=centred.device)
    return inverse_square_root(correlation + ridge) / std.transpose(1, 2), std


def patch_peaks(x: Tensor, patch: int) -> Tensor:
    """Maximum over each patch, (B, C, H, W) -> (B, C, h, w); rows before columns, which suits the cache."""
    return x.unflatten(2, (-1, patch)).amax(3).unflatten(3, (-1, patch)).amax(4)


def patch_means(x: Tensor, patch: int) -> Tensor:
    """Mean over each patch, (B, C, H, W) -> (B, C, h, w); rows first, then a few neighbours as shifted sums."""
    x = x.unflatten(2, (-1, patch)).sum(3)
    if patch > CELLS:
        return x.unflatten(3, (-1, patch)).sum(4) / patch**2
    return sum((x[..., i::patch] for i in range(1, patch)), x[..., ::patch]) / patch**2


def nearest_distance(x: Tensor) -> Tensor:
    """Distance of each patch to its few nearest others in the image, (B, h*w, C) -> (B, h*w, 2).

    The mean over the nearest 4 and the nearest 1, each as log of its ratio to the image's median.
    """
    neighbours = min(NEIGHBOURS + 1, x.shape[1])
    if neighbours == 1:
        return x.new_zeros(*x.shape[:2], 2)
    squared = x.square().sum(-1)
    distance = torch.baddbmm(
        squared[:, None, :], x, x.transpose(1, 2), alpha=-2
    )  # less each row's own square
    nearest = distance.topk(neighbours, largest=False).values[:, :, 1:]
    nearest = torch.maximum(nearest + squared[:, :, None], SAME * squared[:, :, None]).sqrt()
    both = torch.stack([nearest.mean(-1), nearest[..., 0]], -1)
    return torch.log((both + 1e-3) / (both.median(1, keepdim=True).values + 1e-3))


def describe_patches(images: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """As `patch_features`; with them the responses of the line filters, (B, 6, H, W), dark lines first."""
    if on_host(images):
        found = [host_patches(np.ascontiguousarray(one), patch) for one in images.permute(0, 2, 3, 1).numpy()]
        return tuple(torch.from_numpy(np.stack(part)) for part in zip(*found, strict=True))  # type: ignore[return-value]
    responses = filter_bank(images)
    lines = responses[:, OTHERS:].clone()
    mean = responses.mean((2, 3), keepdim=True)
    unmix, std = unmixing(responses.sub_(mean).flatten(2))
    white = (unmix @ responses.flatten(2)).view_as(responses)
    length = white.square().mean(1, keepdim=True).sqrt()
    odd = white.abs_()
    odd_mean, odd_peak = patch_means(odd, patch), patch_peaks(odd, patch)
    cell = patch_means(responses, patch // CELLS)
    return _features(length, odd_mean, odd_peak, cell, unmix, mean, std[..., None]), lines


def on_host(images: Tensor) -> bool:
    """Whether the filters run by NumPy and OpenCV (`host_filters`), which a processor does faster than torch."""
    return images.device.type == "cpu" and not images.requires_grad


def _features(
    length: Tensor,
    odd_mean: Tensor,
    odd_peak: Tensor,
    cells: Tensor,
    unmix: Tensor,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    # `cells` are means of the responses less their mean; whitening is linear, so means are whitened, not pixels.
    patch = length.shape[2] // odd_mean.shape[2]
    white = (unmix @ cells.flatten(2)).view_as(cells)
    near = nearest_distance(_listed(torch.cat([patch_means(white, CELLS), odd_mean], 1)))
    centred = patch_means(cells, CELLS)
    whole = [centred / std, odd_mean, odd_peak, centred + mean]
    whole += [patch_means(length, patch), patch_peaks(length, patch)]
    fine = F.pixel_unshuffle(torch.cat([white, F.max_pool2d(length, patch // CELLS)], 1), CELLS)
    return torch.cat([_listed(torch.cat(whole, 1)), near, _listed(fine)], -1).clamp_(-12, 12)


def _listed(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, h*w, C)


def patch_features(images: Tensor, patch: int) -> Tensor:
    """Images (B, 3, H, W) in 0..1 -> (B, h*w, 104 + 26*16) features of each `patch` x `patch` square.

    Of the patch: mean standardised response, mean and maximum absolute whitened response, mean raw response, mean
    and maximum Mahalanobis length, distance to the nearest other patches. Of each of its 4 x 4 cells: mean whitened
    response and maximum length. Values are clipped to 12. `patch` is a multiple of 4.
    """
    return describe_patches(images, patch)[0]


def cell_maps(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cells of (B, h*w, F) features as maps (B, 26, 4h, 4w), `grid` being (h, w)."""
    return F.pixel_shuffle(features[..., POOLED:].transpose(1, 2).unflatten(2, grid), CELLS)


def channels() -> Tensor:
    """For each feature the channel it belongs to, (F,), 0 to `CHANNELS` - 1."""
    return torch.cat([torch.arange(POOLED), POOLED + torch.arange(FINE).repeat_interleave(CELLS**2)])


def mirror(features: Tensor, axes: Sequence[int]) -> Tensor:
    """Features (h, w, F) of the image mirrored along `axes` (0 down, 1 across): the filters see no direction."""
    cells = features[..., POOLED:].unflatten(-1, (FINE, CELLS, CELLS))
    cells = cells.flip([*axes, *(axis + 3 for axis in axes)]).flatten(-3)
    return torch.cat([features[..., :POOLED].flip(list(axes)), cells], -1)


def oddness(features: Tensor) -> Tensor:
    """Of features (..., h*w, F) those that say how odd a patch is in its image, (..., h*w, 2).

    The mean Mahalanobis length, and the distance to the nearest other patches.
    """
    return features[..., [4 * FILTERS, 4 * FILTERS + 2]]


def standard_scores(measures: Tensor) -> Tensor:
    """Measures (..., N, K) -> the sum over K of their z-scores over the N patches, (..., N)."""
    centred = measures.float() - measures.float().mean(-2, keepdim=True)
    return (centred / (measures.float().std(-2, keepdim=True) + 1e-6)).sum(-1)
