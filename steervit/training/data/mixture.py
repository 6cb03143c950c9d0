"""A weighted mixture of sources: which record is drawn at which step, as a pure function of the seed.

Nothing is kept between draws, so a run that resumes, or is spread over other processes, draws the same.
Knows nothing of pixels, models or processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steervit.training.data.records import MissingReport, Record

SUBSET, EPOCH, WITHIN = 1, 2, 3  # what a permutation is for
ROUNDS = 6
WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Source:
    """Records under a name; `weight` is its share of the draws, None for a share as large as it is."""

    name: str
    records: Any  # a sequence of `Record`, or whatever else with a length a supply makes samples of
    weight: float | None = None


class Mixture:
    """Draws `batch` records per step (over all processes) from `sources`.

    An epoch is as many draws as there are records. Without weights it holds every record exactly once; with
    weights each source has its share of every epoch, and after any epoch no two records of a source have been
    drawn numbers of times that differ by more than one.
    `fraction` (0..1] keeps that part of every source's records: the same part for every `seed`, and a
    smaller fraction's records are among a larger one's. Shares are as large as without `fraction`.
    Raises ValueError for impossible settings.
    """

    def __init__(self, sources: Sequence[Source], batch: int, seed: int = 42, fraction: float = 1.0) -> None:
        self.sources, self.batch, self.seed, self.fraction = tuple(sources), batch, seed, fraction
        if not 0 < fraction <= 1:
            raise ValueError(f"expected a fraction of the data above 0 and up to 1, got {fraction}")
        if batch < 1:
            raise ValueError(f"expected at least one record per step, got a batch of {batch}")
        if empty := [source.name for source in self.sources if not len(source.records)]:
            raise ValueError(f"expected records in every source, got none in {', '.join(empty)}")
        self._lengths = [len(source.records) for source in self.sources]
        self._sizes = [max(round(fraction * length), 1) for length in self._lengths]
        self._shares = _apportioned(self._weights(), sum(self._sizes))
        self._starts = np.cumsum([0, *self._shares])

    def __len__(self) -> int:
        return sum(self._sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """How many records of each source are used."""
        return {source.name: size for source, size in zip(self.sources, self._sizes, strict=True)}

    @property
    def shares(self) -> dict[str, float]:
        """Each source's share of the draws; they sum to 1."""
        return {s.name: share / len(self) for s, share in zip(self.sources, self._shares, strict=True)}

    @property
    def missing(self) -> tuple[MissingReport, ...]:
        """What each source lacks on disk, for those that can lack anything."""
        reports = (getattr(source.records, "missing", None) for source in self.sources)
        return tuple(report for report in reports if report is not None)

    def locate(self, step: int, slot: int, attempt: int = 0) -> tuple[int, int]:
        """Number of the source, and of the record in it, drawn at `slot` (0 <= slot < batch) of `step`.

        `attempt` above 0 gives other records of the same source, for when the first cannot be read.
        """
        if not 0 <= slot < self.batch or step < 0:
            raise IndexError(f"expected a step and a slot below {self.batch}, got step {step}, slot {slot}")
        epoch, place = divmod(step * self.batch + slot, len(self))
        place = shuffled(place, len(self), EPOCH, self.seed, epoch)
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        drawn = epoch * self._shares[number] + place - int(self._starts[number])
        lap, turn = divmod(drawn, self._sizes[number])
        chosen = shuffled(turn, self._sizes[number], WITHIN, self.seed, number, lap)
        if attempt:  # another one, anywhere in the source
            size = self._sizes[number]
            chosen = (chosen + int(self.generator(step, slot, attempt).integers(1, max(size, 2)))) % size
        return number, self._kept(number, chosen)

    def sample(self, step: int, slot: int, attempt: int = 0) -> Record:
        """The record that `locate` names: a pure function of the seed and the arguments."""
        number, index = self.locate(step, slot, attempt)
        return self.sources[number].records[index]

    def generator(self, step: int, slot: int, attempt: int = 0) -> np.random.Generator:
        """The randomness of one draw, for its augmentation: the same again for the same arguments."""
        return np.random.default_rng([self.seed, step, slot, attempt])

    def kept(self, name: str) -> Iterator[Record]:
        """The records of one source that `fraction` keeps, in a fixed mixed order: take as many as wanted."""
        number = [source.name for source in self.sources].index(name)
        for i in range(self._sizes[number]):
            yield self.sources[number].records[self._kept(number, i)]

    def _kept(self, number: int, index: int) -> int:
        # A fixed order of the source, of which a fraction is the beginning; the seed has no say in it.
        return shuffled(index, self._lengths[number], SUBSET, number)

    def _weights(self) -> list[float]:
        weights = [source.weight for source in self.sources]
        if all(weight is None for weight in weights):
            return [float(size) for size in self._sizes]
        given = [0.0 if weight is None else weight for weight in weights]
        if any(weight is None for weight in weights) or min(given) <= 0:
            listed = ", ".join(f"{source.name}: {source.weight}" for source in self.sources)
            raise ValueError(f"expected a weight above 0 for every source, or for none, got {listed}")
        return given


def _apportioned(weights: Sequence[float], total: int) -> list[int]:
    # Whole numbers in proportion to the weights, with the right sum (largest remainders).
    if not weights:
        raise ValueError("expected at least one source of training data, got none")
    exact = [weight / sum(weights) * total for weight in weights]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i])
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def shuffled(index: int, count: int, *key: int) -> int:
    """Where `index` (0 <= index < count) goes in the permutation of 0..count-1 that `key` names, held nowhere.

    A Feistel network over the next even power of two; results that fall outside are walked through it again
    (*Ciphers with Arbitrary Finite Domains*, Black and Rogaway, 2002). Not secret, only well mixed.
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
