"""Dense counters for the code ranges that occur: counting a pixel is two table look-ups and no sort."""

from __future__ import annotations

import numpy as np

from anomaly.metrics.codes import CODE_BITS

PAGE_BITS = 10
SMALL_TOTAL = 1 << 31
MAX_CELLS = 1 << 23


class Pages:
    """Counters in pages of 2**PAGE_BITS neighbouring keys; a page exists once one of its keys was met.

    A key is a code without its `shift` low bits and must be a multiple of 2**`spare`, as every code of a
    float16 map is for 13. At most MAX_CELLS counters are kept; they take memory only when first
    touched, four bytes each unless `large`, since what fits the cache counts twice as fast.
    """

    def __init__(self, shift: int, spare: int = 0, large: bool = False) -> None:
        self._spare = spare
        # Start of each page in `cells`. Zero stands for "no page yet", so the first page is left unused.
        self._start = np.zeros(max(1, 1 << max(0, CODE_BITS - shift - spare - PAGE_BITS)), np.int64)
        self._cells: np.ndarray = np.zeros(MAX_CELLS, np.int64 if large else np.uint32)
        self._room = (1 << 63 if large else 1 << 32) - 1
        self._used = 1 << PAGE_BITS

    @classmethod
    def holding(cls, shift: int, keys: np.ndarray, counts: np.ndarray) -> Pages | None:
        """Pages with these distinct keys counted, or None when these alone take half the room."""
        bits = int(np.bitwise_or.reduce(keys, initial=0))
        spare = (bits & -bits).bit_length() - 1 if bits else 0
        pages = cls(shift, spare, large=bool(counts.sum() > SMALL_TOTAL))
        return pages if pages.add(keys, counts) and 2 * pages._used <= MAX_CELLS else None

    def add(self, keys: np.ndarray, counts: np.ndarray | None = None) -> bool:
        """Count the keys, each once or `counts` times; False, with nothing counted, when they do not fit."""
        total = keys.size if counts is None else int(counts.sum())
        if total > self._room:
            return False
        if self._spare:
            if np.any(keys & ((1 << self._spare) - 1)):
                return False
            keys = keys >> self._spare
        page = keys >> PAGE_BITS
        cell = self._start.take(page)
        if not cell.all():
            if not self._open(np.unique(page[cell == 0])):
                return False
            cell = self._start.take(page)
        cell += keys & ((1 << PAGE_BITS) - 1)
        one_type = self._cells.dtype.type
        np.add.at(self._cells, cell, one_type(1) if counts is None else counts.astype(one_type))
        self._room -= total
        return True

    def _open(self, pages: np.ndarray) -> bool:
        end = self._used + (pages.size << PAGE_BITS)
        if end > self._cells.size:
            return False
        self._start[pages] = np.arange(self._used, end, 1 << PAGE_BITS)
        self._used = end
        return True

    def distinct(self) -> int:
        """How many keys were counted."""
        return int(np.count_nonzero(self._cells[: self._used]))

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
            counts.append(block[row, column].astype(np.int64))
        return np.concatenate(keys) << self._spare, np.concatenate(counts)
