"""Which good parts are references, which calibrate, and which others each is compared with.

Knows content hashes and numbers of patches, no pictures. A place is a number in the list given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomaly.decision.promise import HELD_OUT, Scoring, parts_needed
from anomaly.decision.split import split
from anomaly.errors import SteerAnomalyError

USUAL_RATE = 0.1  # where none is asked for: so many parts are kept for calibration as this rate needs
FEWEST_REFERENCES = (
    8  # held out, when the number is left to us; with fewer to spare every part is used for both
)


@dataclass(frozen=True)
class Plan:
    """`references` are the places the profile keeps; `compared` says for each that calibrates with which it is."""

    references: tuple[int, ...]
    compared: Mapping[int, tuple[int, ...]]
    scoring: Scoring


@dataclass(frozen=True)
class Pictures:
    """Of each picture the hash of its content, the number of its part, and how many patches describe it."""

    hashes: Sequence[str]
    parts: Sequence[int]
    patches: Sequence[int]


def planned(
    pictures: Pictures, references: int | None, rate: float | None, confidence: float, seed: int, most: int
) -> Plan:
    """A plan for `references` parts held out (at least one), or as many as `rate` (0..1) leaves to spare when None.

    Where too few are to spare every part is used for both: each is left out once. `most` patches are kept at most
    when the number is left to us. Raises `SteerAnomalyError` where nothing is left to compare or calibrate with.
    """
    count = len(set(pictures.parts))
    if references is None:
        spare = count - parts_needed(rate or USUAL_RATE, confidence)
        if spare < FEWEST_REFERENCES:
            return _each_left_out(pictures, seed, most)
        references = min(spare, _whole(pictures, seed, most))
    chosen = split(pictures.hashes, references, seed, pictures.parts)
    return Plan(chosen.references, dict.fromkeys(chosen.calibration, chosen.references), HELD_OUT)


def _each_left_out(pictures: Pictures, seed: int, most: int) -> Plan:
    """Every part is compared with as many others as the profile keeps: its own leaves, the next one comes in."""
    parts, count = pictures.parts, len(set(pictures.parts))
    if count < 2:
        raise SteerAnomalyError(
            "expected pictures of two good parts at least, one to compare the other with, got one; photograph more, "
            "or calibrate without references"
        )
    everything = tuple(range(len(parts)))
    whole = _whole(pictures, seed, most)
    kept = split(pictures.hashes, whole, seed, parts).references
    more = everything
    if whole + 1 < count:
        more = split(pictures.hashes, whole + 1, seed, parts).references
    elif sum(pictures.patches) <= most:
        kept = everything
    compared = {
        place: tuple(other for other in (more if place in kept else kept) if parts[other] != parts[place])
        for place in everything
    }
    return Plan(kept, compared, Scoring("cross-fitted", folds=count))


def _whole(pictures: Pictures, seed: int, most: int) -> int:
    """Of how many parts, one fewer than all at most, all patches are kept."""
    count = 1
    while count + 1 < len(set(pictures.parts)):
        places = split(pictures.hashes, count + 1, seed, pictures.parts).references
        if sum(pictures.patches[place] for place in places) > most:
            break
        count += 1
    return count
