"""Who is compared with whom: neighbours on a ring of all images, in an order that only their contents decide.

Every image gets about the same number of partners, each meeting is counted once, and another image more changes the
partners of a few. Knows nothing of scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Meeting(NamedTuple):
    """Two places on the ring, and for each the number that the other has among its partners."""

    left: int
    right: int
    left_slot: int
    right_slot: int


def ring(keys: Iterable[str]) -> list[str]:
    """The keys once each, as around the ring: shuffled by a hash, so neighbours have nothing else in common."""
    return sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())


def meetings(images: int, partners: int) -> Iterator[Meeting]:
    """All meetings of `images` on a ring, from place to place; everyone with everyone if that is `partners` or fewer.

    Otherwise each image meets `partners`, an even number, half of them on either side.
    """
    steps, opposite = _steps(images, partners)
    for left in range(images):
        for step in range(1, steps + 1):
            yield Meeting(left, (left + step) % images, 2 * step - 2, 2 * step - 1)
        if opposite and left < images // 2:
            yield Meeting(left, left + images // 2, 2 * steps, 2 * steps)


def partner_places(place: int, images: int, partners: int) -> list[int]:
    """The places that `place` meets, by their slots."""
    steps, opposite = _steps(images, partners)
    around = [(place + sign * step) % images for step in range(1, steps + 1) for sign in (1, -1)]
    return around + [(place + images // 2) % images] * opposite


def _steps(images: int, partners: int) -> tuple[int, bool]:
    # How many places on either side are met, and whether the one opposite is too: once, not from both sides.
    everyone = images - 1 <= partners
    return (images - 1) // 2 if everyone else partners // 2, everyone and images % 2 == 0
