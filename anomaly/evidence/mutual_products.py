"""Distances to nearest patches between two images, from one matrix product for both. Needs no torch.

Half the squared distance of patches a and b is |a|^2 / 2 + |b|^2 / 2 - a b. In half precision the numbers are those of
bfloat16, rounded once: whether a processor multiplies them (`mutual_half`) or they are multiplied in single precision
and rounded after. Knows nothing of which images meet. Letters: L patches, C channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np

from anomaly.evidence.mutual_run_scale import RunScale
from anomaly.evidence.mutual_store import FeatureStore

ELEMENTS = 1 << 24  # of a product at one time

Precision = Literal["half", "single", "rounded"]


class Products(Protocol):
    """How distances are computed. Descriptions are float32 (L, C), one side of a product is made of each image's."""

    @property
    def name(self) -> str:
        """Tells one way from another."""

    @property
    def in_half(self) -> bool:
        """Whether what `nearest` gives are numbers of bfloat16."""

    def right(self, described: np.ndarray) -> Any:
        """The side on the right of a product; it has `nbytes`."""

    def left(self, right: Any) -> Any:
        """The same image on the left."""

    def nearest(self, left: Any, right: Any) -> tuple[np.ndarray, np.ndarray]:
        """Half the squared distance of each patch to its nearest in the other, (L,) and (M,) float32, at least 0."""


@dataclass(frozen=True)
class Side:
    """Descriptions (L, C) and half their squared norms (L,), float32."""

    values: np.ndarray
    norms: np.ndarray

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.values.nbytes + self.norms.nbytes


@dataclass(frozen=True)
class ArrayProducts:
    """In single precision by NumPy; `rounded` as bfloat16 is, for the same numbers on any processor."""

    rounded: bool = False

    @property
    def name(self) -> str:
        """See `Products`."""
        return "float32, rounded to bfloat16" if self.rounded else "float32"

    @property
    def in_half(self) -> bool:
        """See `Products`."""
        return self.rounded

    def right(self, described: np.ndarray) -> Side:
        """See `Products`."""
        values = np.ascontiguousarray(rounded(described) if self.rounded else described, np.float32)
        norms = np.square(values, dtype=np.float64).sum(1) / 2
        return Side(values, norms.astype(np.float32))

    def left(self, right: Side) -> Side:
        """See `Products`."""
        return right

    def nearest(self, left: Side, right: Side) -> tuple[np.ndarray, np.ndarray]:
        """See `Products`."""
        rows, columns = [], []
        step = max(1, ELEMENTS // len(right.norms))
        for start in range(0, len(left.norms), step):
            piece = slice(start, start + step)
            halves = left.values[piece] @ -right.values.T
            halves += left.norms[piece, None]
            halves += right.norms
            rows.append(halves.min(1))
            columns.append(halves.min(0))
        found = (np.maximum(np.concatenate(rows), 0), np.maximum(np.min(columns, 0), 0))
        return (rounded(found[0]), rounded(found[1])) if self.rounded else found


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of each float32, ties to even, as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32)


def products_of(precision: Precision) -> Products:
    """The fastest way: "half" where torch is there and the processor multiplies bfloat16, elsewhere single."""
    if precision == "half" and find_spec("torch") is not None:
        from anomaly.evidence.mutual_half import HalfProducts, is_native

        if is_native():
            return HalfProducts()
    return ArrayProducts(rounded=precision == "rounded")


class Prepared:
    """Images of a store made ready for products; those used last are kept, up to `cache` bytes."""

    def __init__(self, store: FeatureStore, scale: RunScale, products: Products, cache: int) -> None:
        self.store, self.scale, self.products, self.cache = store, scale, products, cache
        self._kept: OrderedDict[str, list[Any]] = OrderedDict()
        self._size = 0
        self._left: tuple[str, list[Any]] = ("", [])

    def __getitem__(self, key: str) -> list[Any]:
        """The right side of each layer. Raises `SteerAnomalyError` when the store lacks the image."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        layers = [self.products.right(layer) for layer in self.scale(self.store.layers(key))]
        self._kept[key] = layers
        self._size += _bytes(layers)
        while self._size > self.cache and len(self._kept) > 2:
            self._size -= _bytes(self._kept.popitem(last=False)[1])
        return layers

    def left(self, key: str) -> list[Any]:
        """The left sides of the image; the last one asked for is kept."""
        if self._left[0] != key:
            self._left = key, [self.products.left(one) for one in self[key]]
        return self._left[1]


def _bytes(layers: Sequence[Any]) -> int:
    return sum(layer.nbytes for layer in layers)
