"""Segmentation by neighbours in a memory of labelled patches, as open-hummingbird does it. Trains nothing.

A patch's label is that of its k most similar patches of the memory, weighed by a softmax of their cosines over beta
(Balazevic et al. 2023; the evaluation code open-hummingbird-eval). Knows no pictures and no model.
Letters: N = h x w patches of a picture, M patches of the memory, D channels, K classes, S image side in px.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

NEIGHBOURS, BETA = 30, 0.02
PRODUCTS = 2**26  # similarities held at a time


def soft_labels(mask: np.ndarray, grid: tuple[int, int], classes: int) -> np.ndarray:
    """Class numbers (S, S) -> the share of each class in each patch, float32 (N, K). 255, unlabelled, counts as 0."""
    h, w = grid
    patch_h, patch_w = mask.shape[0] // h, mask.shape[1] // w
    cut = np.where(mask == 255, 0, mask)[: h * patch_h, : w * patch_w].astype(np.int64)
    patches = cut.reshape(h, patch_h, w, patch_w).transpose(0, 2, 1, 3).reshape(h * w, -1)
    rows = np.arange(h * w)[:, None] * classes
    counts = np.bincount((patches + rows).ravel(), minlength=h * w * classes)
    return (counts.reshape(h * w, classes) / patches.shape[1]).astype(np.float32)


def sampled(labels: np.ndarray, count: int, key: str) -> np.ndarray:
    """Which `count` of a picture's patches (N, K) enter the memory, favouring rare classes; drawn by `key`.

    A patch's rank is a uniform number times the sum, over the classes in it, of how many patches have them.
    """
    there = labels > 0
    often = (there * there.sum(0)).sum(1).astype(np.float64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    ranks = often * np.random.default_rng(seed).random(len(labels))
    return np.sort(np.argsort(ranks, kind="stable")[:count])


class PatchMemory:
    """Patches (M, D) of any length and the share of each class in them (M, K)."""

    def __init__(
        self,
        patches: np.ndarray,
        labels: np.ndarray,
        neighbours: int = NEIGHBOURS,
        beta: float = BETA,
        device: str = "cpu",
    ) -> None:
        self.neighbours, self.beta = min(neighbours, len(patches)), beta
        self._device = device
        self._patches = F.normalize(torch.from_numpy(patches).to(device), dim=-1)
        self._labels = torch.from_numpy(labels).to(device)

    def __len__(self) -> int:
        return len(self._patches)

    @torch.inference_mode()
    def labels(self, patches: np.ndarray) -> np.ndarray:
        """Patches (N, D) -> what their neighbours say, float32 (N, K), each row adding up to 1."""
        queries = F.normalize(torch.from_numpy(np.ascontiguousarray(patches)).to(self._device), dim=-1)
        step = max(1, PRODUCTS // len(self._patches))
        return torch.cat([self._labels_of(some) for some in queries.split(step)]).cpu().numpy()

    def _labels_of(self, queries: torch.Tensor) -> torch.Tensor:
        cosines, places = (queries @ self._patches.T).topk(self.neighbours, dim=1)
        weights = (cosines / self.beta).softmax(1)
        return torch.einsum("nk,nkc->nc", weights, self._labels[places])


def predicted(labels: np.ndarray, grid: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray:
    """What neighbours say (N, K), bilinear to `size_hw`, and the likeliest class of each pixel, uint8."""
    maps = torch.from_numpy(labels).T.unflatten(1, grid)[None]
    large = F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)[0]
    return large.argmax(0).numpy().astype(np.uint8)


def confusion(true: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels of each true class (rows) were found as each (columns), int64 (K, K); 255 is left out."""
    known = true != 255
    pairs = true[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def ious(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class (K,), 0..1, from a confusion; 0 for a class that is nowhere."""
    both = np.diag(counts)
    either = counts.sum(0) + counts.sum(1) - both
    return both / np.maximum(either, 1)


def matched(counts: np.ndarray) -> np.ndarray:
    """The confusion after found classes are renamed so that IoUs are largest in sum, one to one (Hungarian).

    open-hummingbird reports its mIoU so, as one does for clusters that have no names.
    """
    from scipy.optimize import linear_sum_assignment

    either = counts.sum(1, keepdims=True) + counts.sum(0, keepdims=True) - counts
    rows, columns = linear_sum_assignment(1 - counts / np.maximum(either, 1))
    renamed = np.zeros_like(counts)
    renamed[:, rows] = counts[:, columns]
    return renamed
