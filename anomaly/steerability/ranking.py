"""Measures of a ranking by similarity. Knows nothing of pictures, models or benchmarks.

Ties count against the query: a feature that tells nothing apart must not look right.
"""

from __future__ import annotations

import numpy as np


def ranked(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """`relevant` (n,) bool in the order of falling `similarity` (n,); of equal ones the irrelevant come first."""
    return relevant[np.lexsort((relevant, -similarity))]


def precision_at(similarity: np.ndarray, relevant: np.ndarray, k: int) -> float:
    """The share of the `k` most similar that are relevant, 0..1; excluded ones have similarity -inf."""
    return float((ranked(similarity, relevant)[:k]).sum() / k)


def reciprocal_rank(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """1 / the rank of the first relevant one, which has to exist."""
    return float(1 / (1 + np.argmax(ranked(similarity, relevant))))


def ndcg(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """Normalised discounted cumulative gain of the full ranking, 0..1, gains 0 and 1, discount log2(rank + 1)."""
    discount = 1 / np.log2(np.arange(len(relevant)) + 2)
    return float(discount[ranked(similarity, relevant)].sum() / discount[: int(relevant.sum())].sum())
