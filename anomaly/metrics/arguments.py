"""Checks what is handed to the metrics before anything is counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomaly.errors import SteerAnomalyError


def checked_map(score_map: np.ndarray) -> np.ndarray:
    """The map as C-contiguous float32 H x W, without NaN."""
    scores = np.asarray(score_map)
    if scores.ndim != 2 or scores.size == 0:
        raise SteerAnomalyError(
            f"expected a score map of shape H x W, got shape {scores.shape}; give one image at a time"
        )
    if scores.dtype.kind not in "fiub":
        raise SteerAnomalyError(f"expected a score map of real numbers, got dtype {scores.dtype}; convert it")
    if scores.dtype != np.float32:
        with np.errstate(over="ignore"):
            scores = scores.astype(np.float32)
    scores = np.ascontiguousarray(scores)
    if np.isnan(scores.max()):
        raise SteerAnomalyError(
            f"expected numbers, got NaN in {int(np.isnan(scores).sum())} of {scores.size} pixels of the map; "
            "look for a division by zero or an overflow where the map is made, and score this image again"
        )
    return scores


def checked_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mask as C-contiguous uint8, 1 where defective; None for a good image."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise SteerAnomalyError(
            f"expected a mask of the map's shape {shape}, got {mask.shape}; resize the map to the mask, "
            "or drop the mask's colour channels"
        )
    if mask.dtype.kind not in "biu":
        raise SteerAnomalyError(
            f"expected a mask of bool or integers, defective where not 0, got dtype {mask.dtype}; "
            "compare it with a threshold first"
        )
    return np.ascontiguousarray(mask != 0).view(np.uint8)


def checked_limits(limits: Sequence[float]) -> tuple[float, ...]:
    """False-positive rates to integrate PRO up to, each in (0, 1], at least one, none twice."""
    limits = tuple(float(limit) for limit in limits)
    if not limits or len(set(limits)) < len(limits) or not all(0 < limit <= 1 for limit in limits):
        raise SteerAnomalyError(
            f"expected distinct false-positive rates above 0 and up to 1 as limits, got {limits}; use 0.3"
        )
    return limits
