"""Products in bfloat16 by torch, on processors that multiply it: many times as fast as in single precision.

The two norms ride in columns of their own, so the product *is* half the squared distance: it is summed in single
precision and rounded once, relative to itself, and near neighbours lose nothing. Letters: L patches, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from anomaly.evidence import mutual_products

PARTS = 3  # columns in which a norm keeps the digits of single precision
WIDTH = 32  # channels are filled up to a multiple of it, which the product is fast for


def is_native() -> bool:
    """Whether the processor multiplies bfloat16; elsewhere that would be many times slower than single precision."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@dataclass(frozen=True)
class Half:
    """One side of a product (L, C'), bfloat16, of descriptions of `channels`."""

    columns: Tensor
    channels: int

    @property
    def nbytes(self) -> int:
        """In memory."""
        return self.columns.nbytes


@dataclass(frozen=True)
class HalfProducts:
    """See `mutual_products.Products`."""

    name: str = "bfloat16"
    in_half: bool = True

    def right(self, described: np.ndarray) -> Half:
        """See `Products`: the descriptions, half their squared norms, ones, zeros up to C'."""
        halved = torch.from_numpy(described).to(torch.bfloat16)
        rest, columns = halved.double().square().sum(1) / 2, []
        for _ in range(PARTS):
            columns.append(rest.to(torch.bfloat16))
            rest = rest - columns[-1].double()
        norms = torch.stack(columns, 1)
        whole = torch.cat([halved, norms, torch.ones_like(norms)], 1)
        return Half(pad(whole, (0, -whole.shape[1] % WIDTH)), described.shape[1])

    def left(self, right: Half) -> Half:
        """See `Products`: negated, ones where the norms of the other are, and its own norms."""
        x, first, then = right.columns, right.channels + PARTS, right.channels + 2 * PARTS
        parts = [-x[:, : right.channels], x[:, first:then], x[:, right.channels : first], x[:, then:]]
        return Half(torch.cat(parts, 1), right.channels)

    def nearest(self, left: Half, right: Half) -> tuple[np.ndarray, np.ndarray]:
        """See `Products`."""
        rows, columns = [], []
        for some in left.columns.split(max(1, mutual_products.ELEMENTS // len(right.columns))):
            # Numbers from zero up are ordered as their bits are; minima of 16-bit integers take a seventh of the time.
            # What rounding left below zero is a negative integer too, and becomes zero in `_numbers`.
            halves = (some @ right.columns.T).view(torch.int16)
            rows.append(halves.amin(1))
            columns.append(halves.amin(0))
        lowest = columns[0] if len(columns) == 1 else torch.stack(columns).amin(0)
        return _numbers(torch.cat(rows)), _numbers(lowest)


def _numbers(lowest: Tensor) -> np.ndarray:
    return lowest.view(torch.bfloat16).clamp_min(0).float().numpy()
