"""`filters.describe_patches` on a processor, by NumPy and OpenCV, for torch and for every runtime without it.

The same filters, whitening and features, in a third of the time: blurs in one pass over memory, a strip of the image
at a time, so that it stays in a core's cache. Imports no torch; the formulas are explained in `filters`.
Letters: F filters, H x W pixels, h x w patches, N of them.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from steervit.nano.host_products import product
from steervit.nano.host_ridges import RIDGES, host_ridges

OTHERS = 19  # filters that know no direction
FILTERS = OTHERS + RIDGES
EPSILON = 2e-2  # ridge on the correlation matrix before it is inverted
SAME = 4e-6  # of a patch's squared length: smaller squared distances are rounding, and differ by processor
NEIGHBOURS = 4  # a round part has few patches like its rim: ask only the nearest
CELLS = 4  # cells along each side of a patch
POOLED = 4 * FILTERS + 4  # features of a patch as a whole
FINE = FILTERS + 1  # features of a cell
FEATURES = POOLED + FINE * CELLS**2
LIMIT = 12.0


def host_patches(image: np.ndarray, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) float32 in 0..1 -> features of its patches (N, 520), and line responses (6, H, W).

    H and W are multiples of `patch`, that one of 4.
    """
    responses = host_responses(image)
    lines = responses[OTHERS:].copy()
    flat = responses.reshape(FILTERS, -1)
    mean = flat.mean(1, keepdims=True)
    flat -= mean
    unmix, std = _unmixing(flat)
    length, odd_mean, odd_peak, cells = _whitened(responses, unmix, patch)
    white = product(unmix, cells.reshape(FILTERS, -1)).reshape(cells.shape)
    centred = patch_means(cells, CELLS)
    near = nearest_distance(_listed(np.concatenate([patch_means(white, CELLS), odd_mean])))
    whole = [centred / std[..., None], odd_mean, odd_peak, centred + mean[..., None]]
    whole += [patch_means(length[None], patch), _peaks(length[None], patch)]
    fine = np.concatenate([white, _peaks(length[None], patch // CELLS)])
    found = np.concatenate([_listed(np.concatenate(whole)), near, _unshuffled(fine)], 1)
    return np.clip(found, -LIMIT, LIMIT, out=found), lines


def host_responses(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) in 0..1 -> responses (25, H, W): `filters.filter_bank`."""
    red, green, blue = cv2.split(image)
    grey = _grey(image)
    opponents = [red - green, blue - 0.5 * (red + green)]
    colours, both = _blurred(image, 1), _blurred(cv2.merge([grey, *opponents]), 2)
    smooth = {1: _grey(colours), 2: np.ascontiguousarray(both[..., 0])}
    smooth |= {sigma: _blurred(grey, sigma) for sigma in (4, 8, 20)}
    edges = [_blurred(_slopes(smooth[sigma]), 2 * sigma) for sigma in (1, 2, 4)]
    blobs = [smooth[a] - smooth[b] for a, b in ((1, 2), (2, 4), (4, 8), (2, 20))]
    contrast = both[..., 1:] - _blurred(cv2.merge(opponents), 10)
    found = np.empty((FILTERS, *grey.shape), np.float32)
    for place, one in zip((0, 3, 5, 7, 13), (colours, *edges, contrast), strict=True):
        found[place : place + one.shape[2]] = one.transpose(2, 0, 1)
    found[9:13] = blobs
    found[15:17], found[17:19] = _hats(_blurred(grey, 0.7), 5), _hats(smooth[1], 11)
    found[OTHERS:] = host_ridges(grey)
    return found


def patch_means(x: np.ndarray, size: int) -> np.ndarray:
    """Mean over squares of `size` pixels, (C, H, W) -> (C, H / size, W / size)."""
    return _across(np.add.reduce(_rows(x, size), 2), size, np.add) / size**2


def standard_scores(measures: np.ndarray) -> np.ndarray:
    """Measures (..., N, K) -> the sum over K of their z-scores over the N patches: `filters.standard_scores`."""
    centred = measures - measures.mean(-2, keepdims=True)
    return (centred / (measures.std(-2, keepdims=True, ddof=1) + 1e-6)).sum(-1)


def oddness(features: np.ndarray) -> np.ndarray:
    """Of features (..., N, F) those that say how odd a patch is in its image, (..., N, 2): `filters.oddness`."""
    return features[..., [4 * FILTERS, 4 * FILTERS + 2]]


def nearest_distance(x: np.ndarray) -> np.ndarray:
    """Distance of each patch to its few nearest others, (N, C) -> (N, 2): `filters.nearest_distance`."""
    neighbours = min(NEIGHBOURS + 1, len(x))
    if neighbours == 1:
        return np.zeros((len(x), 2), np.float32)
    squared = np.square(x).sum(1)
    distance = product(-2 * x, np.ascontiguousarray(x.T))
    distance += squared  # less each row's own square
    distance.partition(neighbours - 1, axis=1)
    nearest = np.sort(distance[:, :neighbours], axis=1)[:, 1:]
    nearest = np.sqrt(np.maximum(nearest + squared[:, None], SAME * squared[:, None]))
    both = np.stack([nearest.mean(1), nearest[:, 0]], 1)
    middle = np.partition(both, (len(x) - 1) // 2, axis=0)[(len(x) - 1) // 2]
    return np.log((both + 1e-3) / (middle + 1e-3))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.transform(image, np.full((1, 3), 1 / 3))


def _blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    # (H, W) or (H, W, C); wide ones on a quarter-size copy.
    height, width = x.shape[:2]
    if sigma > 6 and min(height, width) >= 32:
        cut = x[: height // 4 * 4, : width // 4 * 4]
        small = cv2.resize(cut, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        return cv2.resize(_blurred(small, sigma / 4), (width, height), interpolation=cv2.INTER_LINEAR)
    radius = min(int(3 * sigma + 0.5), min(height, width) - 1)
    half = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(radius + 1)]
    kernel = np.array([*half[:0:-1], *half]) / (2 * sum(half) - half[0])
    return cv2.sepFilter2D(x, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)


def _slopes(g: np.ndarray) -> np.ndarray:
    # (H, W) -> (H, W, 2): how steep across, how steep down.
    axes = ((1, 0), (0, 1))
    found = [cv2.Sobel(g, cv2.CV_32F, *axis, ksize=3, borderType=cv2.BORDER_REFLECT_101) for axis in axes]
    return np.abs(cv2.merge(found))


def _hats(g: np.ndarray, size: int) -> np.ndarray:
    # Black-hat and top-hat: thin dark and thin bright structures narrower than `size` pixels.
    square = np.ones((size, size), np.uint8)
    return np.stack([cv2.morphologyEx(g, kind, square) for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)])


def _unmixing(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # What whitens responses less their mean (F, H*W): a matrix (F, F); and their deviations (F, 1).
    covariance = product(centred, centred.T) / centred.shape[1]
    std = np.sqrt(np.maximum(np.diagonal(covariance), 0))[:, None] + np.float32(1e-4)
    correlation = covariance / (std * std.T)
    if not np.isfinite(correlation).all():  # what is no number stays none, and is no verdict later
        return np.full_like(covariance, np.nan), std
    values, vectors = np.linalg.eigh(correlation.astype(np.float64) + EPSILON * np.eye(len(centred)))
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    return inverse.astype(np.float32) / std.T, std


def _whitened(
    responses: np.ndarray, unmix: np.ndarray, patch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Responses less their mean (F, H, W) -> Mahalanobis length (H, W); mean and maximum of what is whitened, without
    its sign, over each patch (F, h, w); means of the responses over each cell (F, 4h, 4w)."""
    count, height, width = responses.shape
    rows, cell = height // patch, patch // CELLS
    length = np.empty((height, width), np.float32)
    sums, peaks = (np.empty((count, rows, width), np.float32) for _ in range(2))
    cells = np.empty((count, rows * CELLS, width), np.float32)
    for row in range(rows):
        strip = responses[:, row * patch : (row + 1) * patch]
        white = product(unmix, strip.reshape(count, -1)).reshape(strip.shape)
        np.add.reduce(
            strip.reshape(count, CELLS, cell, width), 2, out=cells[:, row * CELLS : (row + 1) * CELLS]
        )
        np.abs(white, out=white)
        np.add.reduce(white, 1, out=sums[:, row])
        np.maximum.reduce(white, 1, out=peaks[:, row])
        np.square(white, out=white)
        np.add.reduce(white, 0, out=length[row * patch : (row + 1) * patch])
    np.sqrt(length / count, out=length)
    odd_mean = _across(sums, patch, np.add) / patch**2
    return length, odd_mean, _across(peaks, patch, np.maximum), _across(cells, cell, np.add) / cell**2


def _across(x: np.ndarray, size: int, operator: np.ufunc) -> np.ndarray:
    # Every `size` columns as one: slices, since NumPy is slow at many short rows.
    total = x[..., ::size].copy()
    for i in range(1, size):
        operator(total, x[..., i::size], out=total)
    return total


def _peaks(x: np.ndarray, size: int) -> np.ndarray:
    return _across(np.maximum.reduce(_rows(x, size), 2), size, np.maximum)


def _rows(x: np.ndarray, size: int) -> np.ndarray:
    return x.reshape(x.shape[0], -1, size, x.shape[2])


def _listed(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), -1).T  # (C, h, w) -> (N, C)


def _unshuffled(cells: np.ndarray) -> np.ndarray:
    # (C, 4h, 4w) -> (N, C * 16), a patch's cells row by row
    count, height, width = cells.shape
    split = cells.reshape(count, height // CELLS, CELLS, width // CELLS, CELLS)
    return split.transpose(1, 3, 0, 2, 4).reshape(height * width // CELLS**2, -1)
