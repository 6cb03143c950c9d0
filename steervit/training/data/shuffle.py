"""Shuffles any number of things without holding the order: the i-th of a permutation, in constant time.

A Feistel network over the next even power of two; results that fall outside are walked through it again
(*Ciphers with Arbitrary Finite Domains*, Black and Rogaway, 2002). Not secret, only well mixed.
"""

from __future__ import annotations

ROUNDS = 6
WORD = (1 << 64) - 1


def shuffled(index: int, count: int, *key: int) -> int:
    """Where `index` (0 <= index < count) goes in the permutation of 0..count-1 that `key` names.

    Equal for equal arguments on every machine. Raises IndexError for an index outside.
    """
    if not 0 <= index < count:
        raise IndexError(f"expected an index from 0 to {count - 1}, got {index}")
    if count == 1:
        return 0
    half = ((count - 1).bit_length() + 1) // 2
    mixed_key = 0
    for part in key:
        mixed_key = _mix(mixed_key ^ _mix(part & WORD))
    while True:
        index = _network(index, half, mixed_key)
        if index < count:
            return index


def _network(value: int, half: int, key: int) -> int:
    low_bits = (1 << half) - 1
    left, right = value >> half, value & low_bits
    for number in range(ROUNDS):
        left, right = right, left ^ (_mix(right ^ _mix(key + number)) & low_bits)
    return left << half | right


def _mix(value: int) -> int:
    # the finaliser of SplitMix64
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & WORD
    return value ^ value >> 31
