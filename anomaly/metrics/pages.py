"""Dense counters for the code ranges that occur, so that counting a pixel is two table look-ups and no sort."""

from __future__ import annotations

import numpy as np

from anomaly.metrics.codes import CODE_BITS

PAGE_BITS = 10
MAX_CELLS = 1 << 22


class Pages:
    """int64 counters in pages of 2**PAGE_BITS neighbouring keys; a page exists once one of its keys was met.

    A key is a code without its `shift` low bits. At most MAX_CELLS counters are kept; the system gives them
    memory when they are first touched.
    """

    def __init__(self, shift: int) -> None:
        # Start of each page in `cells`. Zero stands for "no page yet", so the first page is left unused.
        self._start = np.zeros(max(1, 1 << max(0, CODE_BITS - shift - PAGE_BITS)), np.int64)
        self._cells = np.zeros(MAX_CELLS, np.int64)
        self._used = 1 << PAGE_BITS

    @classmethod
    def holding(cls, shift: int, keys: np.ndarray, counts: np.ndarray) -> Pages | None:
        """Pages with these distinct keys counted, or None when they lie too scattered to fit."""
        pages = cls(shift)
        return pages if pages.add(keys, counts) else None

    def add(self, keys: np.ndarray, counts: np.ndarray | int = 1) -> bool:
        """Count the keys; False, with nothing counted, when new pages would not fit."""
        page = keys >> PAGE_BITS
        cell = self._start.take(page)
        if not cell.all():
            if not self._open(np.unique(page[cell == 0])):
                return False
            cell = self._start.take(page)
        cell += keys & ((1 << PAGE_BITS) - 1)
        np.add.at(self._cells, cell, counts)
        return True

    def _open(self, pages: np.ndarray) -> bool:
        end = self._used + (pages.size << PAGE_BITS)
        if end > self._cells.size:
            return False
        self._start[pages] = np.arange(self._used, end, 1 << PAGE_BITS)
        self._used = end
        return True

    def sparse(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys that were counted, ascending, and their counts."""
        pages = np.flatnonzero(self._start)
        rows = self._start[pages] >> PAGE_BITS
        table = self._cells.reshape(-1, 1 << PAGE_BITS)
        keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for first in range(0, pages.size, 256):
            block = table[rows[first : first + 256]]
            row, column = np.nonzero(block)
            keys.append((pages[first + row] << PAGE_BITS) + column)
            counts.append(block[row, column])
        return np.concatenate(keys), np.concatenate(counts)
