"""Float scores as integers that keep their order, so that counting needs no bin edges. Knows no masks.

`encode` is strictly increasing on float32 and -0.0 ties with 0.0; infinities have codes, NaN has none.
Dropping the low bits of a code merges neighbouring scores. A plain sign-flipped float is fine near zero
and coarse near one, where a saturated sigmoid puts its highest scores. So the stretch from 0.5 to 1 is
coded by its distance to 1, which float32 holds exactly: both ends of [0, 1] have the same relative
resolution. Exact 0 and 1, where clipped maps crowd, have a gap around them and share no bucket with others.
"""

from __future__ import annotations

import numpy as np

CODE_BITS = 33

_BINADE = 1 << 23
_HALF = 126 * _BINADE  # bits of 0.5
_ONE = 127 * _BINADE  # bits of 1.0
_TINIEST = 102 * _BINADE  # one binade below 2**-24, the smallest distance to 1 in [0.5, 1]
_CODE_ONE = _HALF + 24 * _BINADE  # before the gap above zero is added
_ABOVE_ONE = _CODE_ONE - _ONE + _BINADE
_ZERO = 1 << (CODE_BITS - 1)


def encode(scores: np.ndarray) -> np.ndarray:
    """int64 codes in [0, 2**33) of contiguous 1-D float32 without NaN; `a < b` iff `code(a) < code(b)`."""
    bits = scores.view(np.int32)
    codes = (bits & 0x7FFFFFFF).astype(np.int64)
    if codes.size == 0:
        return codes
    has_zero = codes.min() == 0
    if codes.max() > _HALF:
        _stretch_to_one(scores, codes)
    codes += np.where(codes > 0, _BINADE, 0) if has_zero else _BINADE
    if bits.min() < 0:
        sign = (bits >> 31).astype(np.int64)  # -1 where negative: flipping and adding 1 negates
        codes ^= sign
        codes -= sign
    codes += _ZERO
    return codes


def _stretch_to_one(scores: np.ndarray, codes: np.ndarray) -> None:
    beyond = codes > _ONE
    near = np.flatnonzero((codes > _HALF) & ~beyond)
    codes += np.multiply(beyond, _ABOVE_ONE, dtype=np.int64)
    if near.size:
        distance = (np.float32(1) - np.abs(scores[near])).view(np.int32)
        codes[near] = _CODE_ONE - np.maximum(distance - _TINIEST, 0)


def decode(codes: np.ndarray) -> np.ndarray:
    """The smallest float32 score whose code is at least each of `codes` (int64, any shape).

    Codes that belong to a score give that score back; others lie in a gap and give the next score up.
    """
    codes = np.asarray(codes, dtype=np.int64) - _ZERO
    positive = codes > 0
    magnitude = _magnitude(np.abs(codes), round_up=positive)
    return np.where(positive, magnitude, -magnitude).astype(np.float32) + np.float32(0)


def _magnitude(codes: np.ndarray, round_up: np.ndarray) -> np.ndarray:
    """Inverse of the code of a magnitude; in a gap, the next one up or down (where not `round_up`)."""
    inside = np.maximum(codes - _BINADE, np.where(round_up, 1, 0))
    below = np.minimum(inside, _HALF).astype(np.int32).view(np.float32)
    past_one = np.where(round_up, inside > _CODE_ONE, inside > _CODE_ONE + _BINADE)
    above_bits = np.clip(inside - _ABOVE_ONE, _ONE + 1, 255 * _BINADE)
    above = above_bits.astype(np.int32).view(np.float32)
    gap = np.clip(_CODE_ONE - inside, 0, 24 * _BINADE)
    steps = (gap + _TINIEST).astype(np.int32).view(np.float32).astype(np.float64) * 2.0**24
    steps = np.where(round_up, np.floor(steps), np.ceil(steps))
    steps = np.where(gap == 0, 0, steps)
    near = (1 - steps * 2.0**-24).astype(np.float32)
    return np.where(inside <= _HALF, below, np.where(past_one, above, near))
