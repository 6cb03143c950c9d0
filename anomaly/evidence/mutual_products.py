"""Distances to nearest patches between two images, from one matrix product for both and on any precision.

Half the squared distance of patches a and b is |a|^2 / 2 + |b|^2 / 2 - a b. The two norms ride in columns of their
own, so the product *is* that number: it is summed in single precision and rounded once, relative to itself, and
near neighbours lose nothing. Knows nothing of which images meet. Letters: L patches, C channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.mutual_store import FeatureStore, Moments

PARTS = {torch.bfloat16: 3, torch.float32: 1}  # columns in which a norm keeps the digits of single precision
WIDTH = 32  # channels are filled up to a multiple of it, which the product is fast for
ELEMENTS = 1 << 24  # of a product at one time
STEADY = 1e-4  # of the largest deviation: a channel that varies less over the run has no scale of its own


@dataclass(frozen=True)
class RunScale:
    """How descriptions are brought to one scale over a run: (x - mean) * factor, a pair (C,) for each layer.

    `spread`: root mean square distance of two patches drawn at random from the run after that, by layer.
    """

    mean: list[Tensor]
    factor: list[Tensor]
    spread: list[float]

    @classmethod
    def of(cls, moments: Iterable[Sequence[Moments]], standardise: bool) -> RunScale:
        """From the moments of each image's layers, one image after the other. Every image counts alike.

        Raises `SteerAnomalyError` where images differ in layers, and without any.
        """
        sums: list[Tensor] = []
        kinds, count = set(), 0
        for layers in moments:
            pairs = [torch.stack([layer.mean, layer.square]) for layer in layers]
            kinds.add(tuple(pair.shape[1] for pair in pairs))
            if len(kinds) > 1:
                break
            sums = [one + pair for one, pair in zip(sums, pairs, strict=True)] if sums else pairs
            count += 1
        if len(kinds) != 1:
            raise SteerAnomalyError(
                f"expected all images to have layers of the same channels, got {sorted(kinds)}"
            )
        return cls(*map(list, zip(*(_scaled(one / count, standardise) for one in sums), strict=True)))

    def __call__(self, layers: Sequence[Tensor]) -> list[Tensor]:
        """The layers (L, C) of one image -> float32, on the scale of the run."""
        return [
            (layer.float() - mean) * factor
            for layer, mean, factor in zip(layers, self.mean, self.factor, strict=True)
        ]


def _scaled(moments: Tensor, standardise: bool) -> tuple[Tensor, Tensor, float]:
    # Mean and mean square over the run, (2, C) -> mean, factor and spread.
    mean, square = moments
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    varies = deviation > STEADY * deviation.max()
    factor = torch.where(varies, 1 / deviation, 0) if standardise else torch.ones_like(deviation)
    spread = float((2 * (deviation * factor).square().sum()).sqrt())
    return (
        mean.float(),
        factor.float(),
        spread or 1.0,
    )  # every patch alike: all distances are zero, in any unit


class Prepared:
    """Images of a store made ready for products; those used last are kept, up to `cache` bytes."""

    def __init__(self, store: FeatureStore, scale: RunScale, dtype: torch.dtype, cache: int) -> None:
        self.store, self.scale, self.dtype, self.cache = store, scale, dtype, cache
        self._kept: OrderedDict[str, list[Tensor]] = OrderedDict()
        self._size = 0
        self._left: tuple[str, list[Tensor]] = ("", [])

    def __getitem__(self, key: str) -> list[Tensor]:
        """The right-hand side (L, C') of each layer's product. Raises `SteerAnomalyError` when the store lacks it."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        layers = [right_side(layer, self.dtype) for layer in self.scale(self.store.layers(key))]
        self._kept[key] = layers
        self._size += _bytes(layers)
        while self._size > self.cache and len(self._kept) > 2:
            self._size -= _bytes(self._kept.popitem(last=False)[1])
        return layers

    def left(self, key: str) -> list[Tensor]:
        """The left-hand sides of the image; the last one asked for is kept."""
        if self._left[0] != key:
            channels = [len(mean) for mean in self.scale.mean]
            self._left = key, [left_side(*one) for one in zip(self[key], channels, strict=True)]
        return self._left[1]


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, float32 elsewhere (there it would be many times slower)."""
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if native() else torch.float32


def right_side(described: Tensor, dtype: torch.dtype) -> Tensor:
    """Descriptions (L, C) -> (L, C'), `dtype`: themselves, half their squared norms, ones, zeros up to C'."""
    rounded = described.to(dtype)
    rest, columns = rounded.double().square().sum(1) / 2, []
    for _ in range(PARTS[dtype]):
        columns.append(rest.to(dtype))
        rest = rest - columns[-1].double()
    norms = torch.stack(columns, 1)
    whole = torch.cat([rounded, norms, torch.ones_like(norms)], 1)
    return pad(whole, (0, -whole.shape[1] % WIDTH))


def left_side(right: Tensor, channels: int) -> Tensor:
    """The same image on the left of a product: negated, ones where the norms of the other are, and its own norms."""
    parts = PARTS[right.dtype]
    norms, ones = right[:, channels : channels + parts], right[:, channels + parts : channels + 2 * parts]
    return torch.cat([-right[:, :channels], ones, norms, right[:, channels + 2 * parts :]], 1)


def nearest_both(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Two sides (L, C') and (M, C') -> half the squared distance of each patch to its nearest in the other, (L,), (M,).

    At least 0, in the precision of the sides.
    """
    rows, columns = [], []
    for some in left.split(max(1, ELEMENTS // len(right))):
        halves = _ordered(some @ right.T)
        rows.append(halves.amin(1))
        columns.append(halves.amin(0))
    lowest = columns[0] if len(columns) == 1 else torch.stack(columns).amin(0)
    return _numbers(torch.cat(rows), left.dtype), _numbers(lowest, left.dtype)


def _ordered(halves: Tensor) -> Tensor:
    # Numbers from zero up are ordered as their bits are; minima of 16-bit integers take a seventh of the time. What
    # rounding left below zero is a negative integer too, and becomes zero in `_numbers`.
    return halves.view(torch.int16) if halves.dtype == torch.bfloat16 else halves


def _numbers(lowest: Tensor, dtype: torch.dtype) -> Tensor:
    return lowest.view(dtype).clamp_min(0)


def _bytes(layers: Sequence[Tensor]) -> int:
    return sum(layer.nbytes for layer in layers)
