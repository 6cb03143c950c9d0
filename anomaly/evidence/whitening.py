"""Patch descriptions in the directions in which an image's patches differ most, each of unit variance.

Host code: no graph runtime has an eigendecomposition. Letters: B images, N patches, D channels.
"""

from __future__ import annotations

import numpy as np

DIRECTIONS = 32  # of a description that are kept: those in which the patches of the image differ most
SMALLEST = 1e-4  # of the largest difference: a direction in which less differs has no scale of its own


def whitened(tokens: np.ndarray) -> np.ndarray:
    """(B, N, D) float32 -> (B, N, 32): principal components of unit variance. Those of the smaller of two products."""
    exact = (tokens - tokens.mean(1, keepdims=True)).astype(np.float64)
    turned = exact.swapaxes(1, 2)
    small = exact.shape[1] < exact.shape[2]
    values, vectors = np.linalg.eigh(exact @ turned if small else turned @ exact)
    strength = np.sqrt(np.maximum(values[:, None, ::-1], 0))[..., :DIRECTIONS]
    kept = vectors[..., ::-1][..., :DIRECTIONS]
    left = kept if small else (exact @ kept) / np.maximum(strength, 1e-30)
    real = strength > SMALLEST * strength[..., :1]
    return (np.where(real, left, 0) * exact.shape[1] ** 0.5).astype(np.float32)
