"""From a model's patch logits to one heatmap of an image: activation, prompt average, smoothing, size.

Pure arrays; knows no model and no files. Letters: P prompts, h x w patches, H x W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError

ACTIVATIONS = ("softmax", "sigmoid", "logit")
TOP_FRACTION = 0.001  # of a map's pixels: the image score is their mean
TOP_IN_COMPANY = 0.005  # the same of a picture that was compared with others


def activate(logits: np.ndarray, activation: str) -> np.ndarray:
    """Logits (..., h, w) to map values, float32, higher is more anomalous.

    `softmax`: the share of all patches' mass, times their number, so that 1 is even (paper, section 4);
    `sigmoid`: 0..1; `logit`: unchanged. Raises `SteerAnomalyError` for another name.
    """
    logits = logits.astype(np.float32)
    if activation == "logit":
        return logits
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    if activation == "softmax":
        with np.errstate(invalid="ignore"):  # what is not finite stays so, and is no verdict later
            weights = np.exp(logits - logits.max((-2, -1), keepdims=True))
            return weights / weights.mean((-2, -1), keepdims=True)
    raise SteerAnomalyError(
        f"expected the activation to be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
    )


def average(maps: np.ndarray, contrast: int = 0) -> np.ndarray:
    """Mean over prompts, (P, h, w) -> (h, w); the mean of the last `contrast` maps is subtracted from it."""
    wanted = maps[: len(maps) - contrast].mean(0)
    return wanted - maps[len(maps) - contrast :].mean(0) if contrast else wanted


def added(logits: np.ndarray, evidence: np.ndarray, contrast: int = 0) -> np.ndarray:
    """Logits (P, h, w) with evidence (k*h, k*w) added to all but the last `contrast`, at the finer of the sizes.

    What is odd is no part of what contrast prompts ask for.
    """
    size = (max(logits.shape[1], evidence.shape[0]), max(logits.shape[2], evidence.shape[1]))
    logits = np.stack([resize(one, size) for one in logits])
    logits[: len(logits) - contrast] += resize(evidence, size)
    return logits


def mean_of_sizes(maps: list[np.ndarray]) -> np.ndarray:
    """The mean of maps of one picture, at the largest height and the largest width among them."""
    size = (max(one.shape[0] for one in maps), max(one.shape[1] for one in maps))
    return np.stack([resize(one, size) for one in maps]).mean(0)


def resize(heatmap: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear (half-pixel centres) to `size_hw`; values stay within the range they had."""
    height, width = size_hw
    if heatmap.shape == (height, width):
        return heatmap
    return cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)


def smooth(heatmap: np.ndarray, sigma: float, inside: np.ndarray | None = None) -> np.ndarray:
    """Gaussian of `sigma` pixels of this map, borders reflected; 0 leaves it alone.

    With `inside` (bool, as the map) nothing outside counts: its edge is a border, as that of the picture is.
    """
    if sigma <= 0 or inside is None:
        return cv2.GaussianBlur(heatmap, (0, 0), sigma) if sigma > 0 else heatmap
    weight = inside.astype(np.float32)
    spread, total = (cv2.GaussianBlur(one, (0, 0), sigma) for one in (weight, heatmap * weight))
    return np.where(inside, total / np.maximum(spread, 1e-6), heatmap)


def scored(
    heatmap: np.ndarray, sigma: float, inside: np.ndarray | None = None, top: float = TOP_FRACTION
) -> tuple[np.ndarray, float]:
    """The map smoothed and the image's score. Outside of `inside` it is as low as anywhere inside, and not scored."""
    smoothed = smooth(heatmap, sigma, inside)
    if inside is None:
        return smoothed, image_score(smoothed, top)
    values = smoothed[inside]
    return np.where(inside, smoothed, values.min()), image_score(values, top)


def image_score(heatmap: np.ndarray, top: float = TOP_FRACTION) -> float:
    """Mean of the highest `top` share of the map's pixels, at least one: a peak that no single pixel decides."""
    count = max(1, round(heatmap.size * top))
    return float(np.partition(heatmap, heatmap.size - count, axis=None)[-count:].mean())
