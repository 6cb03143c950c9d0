"""MuSc as published: what an image's fellows say about each of its patches (Li et al., ICLR 2024).

Exact and slow, for comparison; `anomaly.evidence.mutual` is the default. Knows nothing of files or models.
Letters: N images, L patches of a grid of h x w, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from anomaly.errors import SteerAnomalyError

DEGREES = (1, 3, 5)  # patches a side of the neighbourhoods that are described
LOWEST = 0.3  # share of the other images that count, those with the nearest patches
NEIGHBOURS = (1, 2, 3)  # images, mostly itself among them, over which an image's score is averaged
FEWEST = 5  # images: of fewer, the lowest 30 % of the others are none


def lnamd(tokens: Tensor, degree: int, grid: tuple[int, int] | None = None) -> Tensor:
    """Patch tokens (N, L, C), without a class token -> unit vectors (N, L, C): means over degree x degree patches.

    Each image is first normalised as a whole, over patches and channels; outside the image are zeros. Section 3.1
    of the paper. `grid` is (h, w), a square when None. Raises `SteerAnomalyError` for other shapes and even degrees.
    """
    maps = _maps(tokens, grid)
    if degree < 1 or degree % 2 == 0:
        raise SteerAnomalyError(f"expected an odd degree of 1 or more, got {degree}: choose of {DEGREES}")
    normed = F.layer_norm(maps, maps.shape[1:])
    means = F.avg_pool2d(normed, degree, stride=1, padding=degree // 2)
    return F.normalize(means.flatten(2).transpose(1, 2), dim=-1)


def describe_neighbourhood(
    tokens: Tensor, grid: tuple[int, int] | None = None, degrees: Sequence[int] = DEGREES
) -> Tensor:
    """Patch tokens (N, L, C) -> one unit vector a patch (N, L, C): the mean of the descriptions of all degrees.

    Merged neighbourhoods are MuSc-V2's idea: one comparison in place of one for each degree. Raises as `lnamd`.
    """
    return F.normalize(torch.stack([lnamd(tokens, degree, grid) for degree in degrees]).mean(0), dim=-1)


def musc_scores(
    tokens: Sequence[Tensor],
    degrees: Sequence[int] = DEGREES,
    lowest: float = LOWEST,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Tokens (N, 1 + L, C) of each layer, class token first -> scores (N, L) of at least 0, higher where odder.

    A patch's distance to its nearest patch in each other image, mean over the lowest share of those images
    (section 3.2, equation 5), mean over layers and degrees. Raises `SteerAnomalyError` for fewer than 5 images,
    and where the lowest share of the others is no image.
    """
    images = len(tokens[0]) if len(tokens) else 0
    others = int(lowest * (images - 1))
    if images < FEWEST or others < 1:
        raise SteerAnomalyError(
            f"expected at least {FEWEST} images, and {lowest:g} of the others to be one or more, got {images} "
            "images: add images of the same part, or switch mutual scoring off"
        )
    each = [_lowest_mean(lnamd(layer[:, 1:], degree, grid), others) for degree in degrees for layer in tokens]
    return torch.stack(each).mean(0)


def image_scores(scores: Tensor, size: int | tuple[int, int], grid: tuple[int, int] | None = None) -> Tensor:
    """Patch scores (N, L) -> (N,): the maximum of the map, brought to `size` pixels bilinearly with aligned corners."""
    maps = F.interpolate(_maps(scores[..., None], grid), size=size, mode="bilinear", align_corners=True)
    return maps.flatten(1).amax(1)


def rescore(image_scores: Tensor, class_tokens: Tensor, neighbours: Sequence[int] = NEIGHBOURS) -> Tensor:
    """RsCIN (section 3.3): image scores (N,) smoothed over the images of the most similar class tokens (N, C).

    Scores are brought to 0..1 over the set first. `neighbours`: numbers of images averaged over, those most similar,
    usually the image itself first. Raises `SteerAnomalyError` where these are not 1..N, and where similarities sum
    to zero.
    """
    if not neighbours or not all(1 <= k <= len(image_scores) for k in neighbours):
        raise SteerAnomalyError(
            f"expected neighbours of 1 to {len(image_scores)} images, got {tuple(neighbours)}"
        )
    span = image_scores.max() - image_scores.min()
    scaled = (image_scores - image_scores.min()) / (span if span > 0 else 1)
    similar = class_tokens @ class_tokens.T
    means = torch.stack([_neighbour_mean(similar, scaled, k) for k in neighbours]).mean(0)
    if not bool(torch.isfinite(means).all()):
        raise SteerAnomalyError(
            "expected class tokens with a direction, got an image whose similarities sum to zero"
        )
    return means


def _neighbour_mean(similar: Tensor, scores: Tensor, count: int) -> Tensor:
    weights, found = similar.topk(count, dim=1)
    return (weights * scores[found]).sum(1) / weights.sum(1)


def _lowest_mean(described: Tensor, others: int) -> Tensor:
    # (N, L, C) -> (N, L). One product of two images serves both: its minima over rows and over columns.
    images, patches = described.shape[:2]
    nearest = described.new_full((images, images, patches), float("inf"))
    for i in range(images):
        for j in range(i + 1, images):
            distances = torch.cdist(described[i], described[j])
            nearest[i, j], nearest[j, i] = distances.amin(1), distances.amin(0)
    return nearest.topk(others, dim=1, largest=False).values.mean(1)


def _maps(tokens: Tensor, grid: tuple[int, int] | None) -> Tensor:
    # (N, L, C) -> (N, C, h, w)
    side = isqrt(tokens.shape[1]) if tokens.ndim == 3 else 0
    height, width = grid or (side, side)
    if tokens.ndim != 3 or height * width != tokens.shape[1] or not tokens.shape[1]:
        raise SteerAnomalyError(
            f"expected tokens N x L x C without a class token and L = h x w of the grid {(height, width)}, "
            f"got {tuple(tokens.shape)}: give grid=(h, w) where it is not square"
        )
    return tokens.transpose(1, 2).unflatten(2, (height, width))
