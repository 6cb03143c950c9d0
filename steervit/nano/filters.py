"""A fixed bank of local filters with per-image whitening: what nano sees of an image.

A small network does not learn "odd compared with what?" from pixels, so the answer is given to it: filter
responses standardised and decorrelated over this one image. Nothing here is learned or random.
Patches are described as a whole and by a grid of cells, in which lines keep their course.
Letters: B images, F filters, H x W pixels, h x w patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from steervit.nano.ridges import RIDGES, ridges

OTHERS = 19  # filters that know no direction
FILTERS = OTHERS + RIDGES
EPSILON = 2e-2  # ridge on the correlation matrix before it is inverted
NEIGHBOURS = 4  # a round part has few patches like its rim: ask only the nearest
CELLS = 4  # cells along each side of a patch
POOLED = 4 * FILTERS + 4  # features of a patch as a whole
FINE = FILTERS + 1  # features of a cell
FEATURES = POOLED + FINE * CELLS**2
CHANNELS = POOLED + FINE  # all cells of a patch share the last ones


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of (B, C, H, W) with reflected borders; wide ones on a quarter-size copy."""
    if sigma > 6 and min(x.shape[-2:]) >= 32:
        small = gaussian_blur(F.avg_pool2d(x, 4), sigma / 4)
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
    radius = min(int(3 * sigma + 0.5), min(x.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    x = F.pad(x, (radius, radius, radius, radius), mode="reflect")
    x = F.conv2d(x, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(x, kernel[:, :, :, None], groups=x.shape[1])


def _sobel(g: Tensor) -> tuple[Tensor, Tensor]:
    smooth, slope = g.new_tensor([1.0, 2.0, 1.0]), g.new_tensor([-1.0, 0.0, 1.0])
    g = F.pad(g, (1, 1, 1, 1), mode="reflect")
    return (
        F.conv2d(g, torch.outer(smooth, slope)[None, None]),
        F.conv2d(g, torch.outer(slope, smooth)[None, None]),
    )


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
    blurred = {sigma: gaussian_blur(grey, sigma) for sigma in (1, 2, 4, 8, 20)}
    responses = [gaussian_blur(images, 1)]
    for sigma in (1, 2, 4):
        edges = torch.cat(_sobel(blurred[sigma]), 1).abs()
        responses.append(gaussian_blur(edges, 2 * sigma))
    responses += [blurred[a] - blurred[b] for a, b in ((1, 2), (2, 4), (4, 8), (2, 20))]
    responses.append(gaussian_blur(opponents, 2) - gaussian_blur(opponents, 10))
    responses += [_hats(gaussian_blur(grey, 0.7), 5), _hats(blurred[1], 11), ridges(grey)]
    return torch.cat(responses, 1)


def inverse_square_root(matrix: Tensor, steps: int = 18) -> Tensor:
    """Inverse square root of symmetric positive matrices (B, F, F), by coupled Newton-Schulz iteration."""
    scale = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    y, z = matrix / scale, identity.expand_as(matrix)
    for _ in range(steps):
        t = 0.5 * (3 * identity - z @ y)
        y, z = y @ t, t @ z
    return z / scale.sqrt()


def whiten(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise and decorrelate responses within each image (ZCA).

    (B, F, H, W) -> whitened responses (B, F, H, W), and the mean and standard deviation (B, F, 1) per filter.
    """
    flat = raw.flatten(2)
    mean = flat.mean(2, keepdim=True)
    centred = flat - mean
    covariance = centred @ centred.transpose(1, 2) / flat.shape[-1]
    std = covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()[..., None] + 1e-4
    correlation = covariance / (std * std.transpose(1, 2))
    ridge = EPSILON * torch.eye(raw.shape[1], dtype=raw.dtype, device=raw.device)
    unmix = inverse_square_root(correlation + ridge) / std.transpose(1, 2)
    return (unmix @ centred).view_as(raw), mean, std


def patch_peaks(x: Tensor, patch: int) -> Tensor:
    """Maximum over each patch, (B, C, H, W) -> (B, h*w, C); rows before columns, which suits the cache."""
    x = x.unflatten(2, (-1, patch)).amax(3).unflatten(3, (-1, patch)).amax(4)
    return x.flatten(2).transpose(1, 2)


def patch_means(x: Tensor, patch: int) -> Tensor:
    """Mean over each patch, (B, C, H, W) -> (B, h*w, C)."""
    return F.avg_pool2d(x, patch).flatten(2).transpose(1, 2)


def nearest_distance(x: Tensor) -> Tensor:
    """Distance of each patch to its few nearest others in the image, (B, h*w, C) -> (B, h*w, 2).

    The mean over the nearest 4 and the nearest 1, each as log of its ratio to the image's median.
    """
    squared = x.square().sum(-1)
    distance = squared[:, :, None] + squared[:, None, :] - 2 * x @ x.transpose(1, 2)
    neighbours = min(NEIGHBOURS + 1, x.shape[1])
    nearest = distance.clamp_min(0).topk(neighbours, largest=False).values[:, :, 1:].sqrt()
    both = (
        torch.stack([nearest.mean(-1), nearest[..., 0]], -1)
        if neighbours > 1
        else x.new_zeros(*x.shape[:2], 2)
    )
    return torch.log((both + 1e-3) / (both.median(1, keepdim=True).values + 1e-3))


def patch_features(images: Tensor, patch: int) -> Tensor:
    """Images (B, 3, H, W) in 0..1 -> (B, h*w, 104 + 26*16) features of each `patch` x `patch` square.

    Of the patch: mean standardised response, mean and maximum absolute whitened response, mean raw response, mean
    and maximum Mahalanobis length, distance to the nearest other patches. Of each of its 4 x 4 cells: mean whitened
    response and maximum length. Values are clipped to 12. `patch` is a multiple of 4.
    """
    raw = filter_bank(images)
    white, mean, std = whiten(raw)
    length, odd = white.square().mean(1, keepdim=True).sqrt(), white.abs()
    cells = torch.cat([F.avg_pool2d(white, patch // CELLS), F.max_pool2d(length, patch // CELLS)], 1)
    white_mean = patch_means(cells[:, :-1], CELLS)
    raw_mean, odd_mean = patch_means(raw, patch), patch_means(odd, patch)
    standard = (raw_mean - mean.transpose(1, 2)) / std.transpose(1, 2)
    near = nearest_distance(torch.cat([white_mean, odd_mean], -1))
    lengths = [patch_means(length, patch), patch_peaks(length, patch)]
    fine = F.pixel_unshuffle(cells, CELLS).flatten(2).transpose(1, 2)
    parts = [standard, odd_mean, patch_peaks(odd, patch), raw_mean, *lengths, near, fine]
    return torch.cat(parts, -1).clamp(-12, 12)


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
