"""A fixed bank of local filters with per-image whitening: what nano sees of an image.

A small network does not learn "odd compared with what?" from pixels, so the answer is given to it: filter
responses standardised and decorrelated over this one image. Nothing here is learned or random.
Letters: B images, F filters, H x W pixels, h x w patches.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FILTERS = 19
EPSILON = 2e-2  # ridge on the correlation matrix before it is inverted
NEIGHBOURS = 4  # a round part has few patches like its rim: ask only the nearest


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


def _hats(g: Tensor, size: int) -> Tensor:
    # Black-hat and top-hat: thin dark and thin bright structures narrower than `size` pixels.
    def dilate(x: Tensor) -> Tensor:
        rows = F.max_pool2d(x, (1, size), stride=1, padding=(0, size // 2))
        return F.max_pool2d(rows, (size, 1), stride=1, padding=(size // 2, 0))

    closed, opened = -dilate(-dilate(g)), dilate(-dilate(-g))
    return torch.cat([closed - g, g - opened], dim=1)


def filter_bank(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0..1 -> responses (B, 19, H, W): colour, edges, blobs, lines, contrast."""
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
    responses += [_hats(gaussian_blur(grey, 0.7), 5), _hats(blurred[1], 11)]
    return torch.cat(responses, 1)


def standardise(x: Tensor) -> Tensor:
    """Zero mean and unit variance per image and filter, (B, F, H, W) -> the same."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / (x.std((2, 3), keepdim=True) + 1e-4)


def inverse_square_root(matrix: Tensor, steps: int = 18) -> Tensor:
    """Inverse square root of symmetric positive matrices (B, F, F), by coupled Newton-Schulz iteration."""
    scale = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    y, z = matrix / scale, identity.expand_as(matrix)
    for _ in range(steps):
        t = 0.5 * (3 * identity - z @ y)
        y, z = y @ t, t @ z
    return z / scale.sqrt()


def whiten(z: Tensor) -> Tensor:
    """Decorrelate standardised responses within each image (ZCA), (B, F, H, W) -> the same."""
    flat = z.flatten(2)
    correlation = flat @ flat.transpose(1, 2) / flat.shape[-1]
    ridge = EPSILON * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return (inverse_square_root(correlation + ridge) @ flat).view_as(z)


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
    """Images (B, 3, H, W) in 0..1 -> (B, h*w, 4*19 + 4) features of each `patch` x `patch` square.

    Mean standardised response, mean and maximum absolute whitened response, mean raw response, mean and
    maximum Mahalanobis length, and the distance to the nearest other patches. Values are clipped to 12.
    """
    raw = filter_bank(images)
    z = standardise(raw)
    white = whiten(z)
    odd, length = white.abs(), white.square().mean(1, keepdim=True).sqrt()
    means = F.avg_pool2d(torch.cat([z, white, odd, raw, length], 1), patch).flatten(2).transpose(1, 2)
    peaks = F.max_pool2d(torch.cat([odd, length], 1), patch).flatten(2).transpose(1, 2)
    z_mean, white_mean, odd_mean, raw_mean, length_mean = means.split([FILTERS] * 4 + [1], dim=-1)
    near = nearest_distance(torch.cat([white_mean, odd_mean], -1))
    parts = [z_mean, odd_mean, peaks[..., :FILTERS], raw_mean, length_mean, peaks[..., FILTERS:], near]
    return torch.cat(parts, -1).clamp(-12, 12)


FEATURES = 4 * FILTERS + 4
