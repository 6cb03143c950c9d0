"""How far each pixel is from the picture's own mean, in units of its own spread: six features, no weights, no text."""

from __future__ import annotations

import cv2
import numpy as np

from anomaly.methods.method import Found
from anomaly.methods.zero_shot import Weightless

SIDE = 256  # px at which the picture is seen
EPSILON = 1e-3  # added to the variances


class PixelMahalanobis(Weightless):
    """Of colours, smoothed, and the grey gradient's length at three scales."""

    name, about = "mahalanobis", "Mahalanobis distance of colours and gradients within the picture"
    smooth, peak = 2.0, True

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`."""
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        planes = [cv2.GaussianBlur(small.astype(np.float32), (0, 0), 2)]
        planes += [cv2.GaussianBlur(edges, (0, 0), sigma) for sigma in (1, 2, 4)]
        return Found(lengths(np.dstack(planes)), image.shape[:2])


def lengths(features: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """Features (h, w, C) -> (h, w) float32: Mahalanobis length of each within the picture."""
    flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / len(flat) + epsilon * np.eye(flat.shape[1])
    squares = (centred * np.linalg.solve(covariance, centred.T).T).sum(1)
    return np.sqrt(np.maximum(squares, 0)).reshape(features.shape[:2]).astype(np.float32)
