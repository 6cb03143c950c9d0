"""A map that ends where its picture does: a guided filter, taken as far as the picture explains the map.

A model says one number per patch, and a defect's edge runs through patches. In windows of the picture the map is
fitted by what its pixels look like, linearly, and the fit takes the map's place by the share of the map's variance that
it explains: where a stain ends the map ends, and what cannot be told from its surroundings stays as the model said.
After K. He, J. Sun, X. Tang, "Guided image filtering" (IEEE TPAMI 35, 2013), with a guide of several channels, and
their "Fast guided filter" (arXiv 1505.00996): windows about cells of several pixels. How rough the picture is as a
channel, and the share (a coefficient of determination), are ours. Pure arrays; knows no model.
Letters: H x W pixels, C channels of the guide, h x w cells at which the map is fitted.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import cv2
import numpy as np

STEP = 4  # pixels along a side of a cell
RIDGE = 1e-4  # added to the guide's variances (values 0..1): fainter differences than 2 or 3 of 255 decide nothing
BLUR = 2.0  # sigma in px of the guide's colours: no edge follows the noise
ROUGH, SPREAD, GAIN = 2.0, 2.0, 2.0  # sigma in px that a pixel is compared with, and over which; its weight
TINY = 1e-12


def follow(
    heatmap: np.ndarray, picture: np.ndarray, radius: float, inside: np.ndarray | None = None
) -> np.ndarray:
    """The finite `heatmap`, float32 (H, W), as its `picture`, RGB uint8 (H, W, 3), has it; within the range it had.

    `radius` is the half side of the windows in px, taken to whole cells of 4 px. With `inside` (bool, H x W) nothing
    outside counts, and it is as low there as anywhere inside. Raises `ValueError` when the shapes differ.
    """
    if picture.shape[:2] != heatmap.shape:
        raise ValueError(f"expected a picture of the map's size, {heatmap.shape}, got {picture.shape[:2]}")
    known = heatmap if inside is None else heatmap[inside]
    middle, low, high = (float(found) for found in (known.mean(), known.min(), known.max()))
    level = heatmap - np.float32(middle)
    fitted, share = _fitted(level, _guide(picture), max(1, round(radius / STEP)), inside)
    found = np.clip(level + share * (fitted - level) + np.float32(middle), low, high)
    return found if inside is None else np.where(inside, found, np.float32(low))


def follow_sum(
    total: np.ndarray, picture: np.ndarray, radius: float, inside: np.ndarray | None = None
) -> np.ndarray:
    """The same of a sum of z-scores, 0 and more, fitted by its squares.

    Z-scores have no end, as shares have at 1: what is ordinary, nearly all of a picture, is to decide little of where
    a defect ends.
    """
    return np.sqrt(follow(total * total, picture, radius, inside))


def _guide(picture: np.ndarray) -> list[np.ndarray]:
    """What a pixel looks like, C channels of float32 (H, W): its colour, and how rough the picture is about it."""
    colours = picture.astype(np.float32) / 255
    grey = cv2.transform(colours, np.full((1, 3), 1 / 3, np.float32))
    rough = cv2.GaussianBlur(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), ROUGH)), (0, 0), SPREAD)
    return [*cv2.split(cv2.GaussianBlur(colours, (0, 0), BLUR)), GAIN * rough]


def _fitted(
    level: np.ndarray, guide: list[np.ndarray], cells: int, inside: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The map as the guide gives it, and the share of its variance that the guide explains (0..1), each (H, W).

    Least squares in windows of `cells` to each side of h x w cells: slopes (h, w, C) and a constant each; every pixel
    takes the mean of those in whose windows it lies.
    """
    channels, values = len(guide), [*guide, level]
    means = _Means(level.shape, cells, inside)
    mean = np.dstack([means.of(one) for one in values])
    spread = np.empty((*mean.shape, channels + 1), np.float32)  # covariances of the channels and the map
    for i, j in combinations_with_replacement(range(channels + 1), 2):
        spread[..., i, j] = means.of(values[i] * values[j]) - mean[..., i] * mean[..., j]
        spread[..., j, i] = spread[..., i, j]
    among, along = spread[..., :channels, :channels], spread[..., :channels, channels:]
    slopes = np.linalg.solve(among + RIDGE * np.eye(channels, dtype=np.float32), along)[..., 0]
    explained = np.einsum("hwc,hwc->hw", slopes, along[..., 0])
    share = (explained / np.maximum(spread[..., channels, channels], TINY)).clip(0, 1)
    constant = mean[..., channels] - np.einsum("hwc,hwc->hw", slopes, mean[..., :channels])
    found = cv2.blur(np.dstack([slopes, constant, share]), _box(cells))
    *factors, fitted, share = cv2.split(cv2.resize(found, level.shape[::-1], interpolation=cv2.INTER_LINEAR))
    for factor, channel in zip(factors, guide, strict=True):
        fitted += factor * channel
    return fitted, share


class _Means:
    """Means over the windows about cells of `STEP` x `STEP` pixels, (H, W) -> (h, w), of what is `inside`."""

    def __init__(self, shape: tuple[int, ...], cells: int, inside: np.ndarray | None) -> None:
        self._size, self._cells = (-(-shape[1] // STEP), -(-shape[0] // STEP)), cells
        self._weight = None if inside is None else inside.astype(np.float32)
        self._share = 1.0 if self._weight is None else np.maximum(self._mean(self._weight), TINY)

    def of(self, values: np.ndarray) -> np.ndarray:
        """The means of `values`, float32 (H, W)."""
        return self._mean(values if self._weight is None else values * self._weight) / self._share

    def _mean(self, values: np.ndarray) -> np.ndarray:
        small = cv2.resize(values, self._size, interpolation=cv2.INTER_AREA)
        return cv2.blur(small, _box(self._cells))


def _box(radius: int) -> tuple[int, int]:
    return 2 * radius + 1, 2 * radius + 1
