"""Counts of score codes in constant memory. The outcome depends on the counted scores alone, never on order.

A histogram keeps every distinct code until there are more than `budget`; then it drops low bits of all codes,
as few as make them fit. How many that are is a property of the set of scores, and dropping bits early never
contradicts dropping them late, so any split into batches or processes ends in the same state, bit for bit.
"""

from __future__ import annotations

import numpy as np

from anomaly.metrics.codes import CODE_BITS
from anomaly.metrics.pages import Pages

BUDGET = 1 << 20
BUFFER = 1 << 21


class CodeHistogram:
    """Counts of codes, exact up to `budget` distinct ones; sorts only every `buffer` codes."""

    def __init__(self, budget: int = BUDGET, buffer: int = BUFFER) -> None:
        if budget < 1:
            raise ValueError(f"expected a budget of at least one distinct score, got {budget}; leave it out")
        self.budget = budget
        self.shift = 0
        self._buffer = buffer
        self._waiting: list[np.ndarray] = []
        self._waiting_size = 0
        self._unchecked = 0
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._pages: Pages | None = None

    def add(self, codes: np.ndarray) -> None:
        """Count int64 `codes` (1-D), which must not change afterwards."""
        if self._pages is not None:
            if self._pages.add(codes >> self.shift):
                self._unchecked += codes.size
                if self._unchecked >= self._buffer:
                    self._slim()
                return
            self._open_pages()
            if self._pages is not None and self._pages.add(codes >> self.shift):
                return
        self._waiting.append(codes)
        self._waiting_size += codes.size
        if self._waiting_size >= self._buffer:
            self._open_pages()

    def _open_pages(self) -> None:
        """Settle, then count in pages if what is known so far leaves room to grow; else go on sorting."""
        self.settle()
        self._pages = Pages.holding(self.shift, self._keys, self._counts)
        if self._pages is not None:
            self._keys = self._counts = np.zeros(0, np.int64)

    def _slim(self) -> None:
        """Drop bits as soon as the budget asks for it, not at the end: a small table counts faster."""
        self._unchecked = 0
        if self._pages is not None and self._pages.distinct() > self.budget:
            self._open_pages()

    def settle(self) -> tuple[np.ndarray, np.ndarray]:
        """The state: distinct codes without their `shift` low bits, ascending, and their counts (int64)."""
        if self._pages is not None:
            self._keys, self._counts = self._pages.sparse()
            self._pages = None
        if self._waiting:
            codes = np.concatenate(self._waiting) >> self.shift
            self._waiting, self._waiting_size = [], 0
            codes.sort()
            starts = run_starts(codes)
            self._insert(codes[starts], np.diff(starts, append=codes.size))
        self.coarsen(self.shift)
        return self._keys, self._counts

    def _insert(self, keys: np.ndarray, counts: np.ndarray) -> None:
        if self._keys.size:
            keys = np.concatenate([self._keys, keys])
            counts = np.concatenate([self._counts, counts])
        self._keys, (self._counts,) = summed(keys, counts)

    def coarsen(self, shift: int) -> None:
        """Drop low bits up to `shift` in all, and further until the distinct codes fit the budget."""
        drop = shift - self.shift
        while _distinct(self._keys, drop) > self.budget:
            drop += 1
        if drop:
            self._keys, (self._counts,) = summed(self._keys >> drop, self._counts)
            self.shift += drop

    def merge(self, other: CodeHistogram) -> None:
        """Add the counts of `other`, which stays as it is in all that can be observed."""
        if other.budget != self.budget:
            raise ValueError(
                f"expected histograms of one budget, got {self.budget} and {other.budget}; build both alike"
            )
        keys, counts = other.settle()
        self.settle()
        self.coarsen(max(self.shift, other.shift))
        self._insert(keys >> (self.shift - other.shift), counts)
        self.coarsen(self.shift)

    @classmethod
    def from_state(cls, budget: int, shift: int, keys: np.ndarray, counts: np.ndarray) -> CodeHistogram:
        """A histogram in the state `settle` gave."""
        if not 0 <= shift <= CODE_BITS or keys.shape != counts.shape:
            raise ValueError(
                "expected the saved state of a histogram, got arrays that do not fit; count again"
            )
        histogram = cls(budget)
        histogram.shift = int(shift)
        histogram._keys, histogram._counts = keys.astype(np.int64), counts.astype(np.int64)
        return histogram


def summed(keys: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Distinct keys, ascending, and the sum of each column (int64, so exact) over equal keys."""
    if keys.size == 0:
        return keys, list(columns)
    if np.any(keys[1:] < keys[:-1]):
        order = np.argsort(keys, kind="stable")  # merges sorted runs, which these mostly are
        keys, columns = keys[order], tuple(column[order] for column in columns)
    starts = run_starts(keys)
    if starts.size == keys.size:
        return keys, list(columns)
    return keys[starts], [np.add.reduceat(column, starts) for column in columns]


def run_starts(ordered: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins in a 1-D array that is not empty; the first is 0."""
    return np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])


def _distinct(keys: np.ndarray, drop: int) -> int:
    if keys.size == 0:
        return 0
    keys = keys >> drop
    return 1 + int(np.count_nonzero(keys[1:] != keys[:-1]))
