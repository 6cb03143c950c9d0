"""Matrix products by NumPy in pieces small enough that its BLAS computes each in the caller's thread.

OpenBLAS shares larger ones among threads that spin while they wait: beside another busy process a product then takes
ten times its time, and whoever computes several images at once has those threads in the way anyway.
"""

from __future__ import annotations

import numpy as np

SMALL = 262_144  # multiplications up to which OpenBLAS stays in one thread (its interface/gemm.c)
SIDE = 64


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (M, K) times b (K, N) -> (M, N), float32."""
    (m, k), n = a.shape, b.shape[1]
    if m * k * n <= SMALL:
        return a @ b
    if m * n * SIDE <= SMALL:  # few results of long sums
        step = SMALL // (m * n)
        total = a[:, :step] @ b[:step]
        for start in range(step, k, step):
            total += a[:, start : start + step] @ b[start : start + step]
        return total
    found = np.empty((m, n), np.float32)
    down = m if m * k * SIDE <= SMALL else SIDE
    right = max(1, SMALL // (down * k))
    for top in range(0, m, down):
        for left in range(0, n, right):
            np.matmul(
                a[top : top + down],
                b[:, left : left + right],
                out=found[top : top + down, left : left + right],
            )
    return found
