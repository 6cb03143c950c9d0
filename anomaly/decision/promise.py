"""What n good parts allow one to promise about false alarms. Arithmetic and wording; it never sees a score.

The threshold is the r-th largest of n calibration scores, and a score above it is an alarm. Given the calibration,
the false-alarm rate is then Beta(r, n + 1 - r) distributed (Bates et al. 2023, section 2; Wilks 1941).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np

from anomaly.errors import SteerAnomalyError

Kind = Literal["held out", "cross-fitted", "same batches", "other batches"]
MOST_PARTS = 1 << 40  # beyond any camera; ends the search for the number of parts


class TooFewParts(SteerAnomalyError):
    """The rate asked cannot be promised: `smallest` (0..1, None if nothing can) is what can, `missing` parts lack."""

    def __init__(self, message: str, smallest: float | None, missing: int | None) -> None:
        super().__init__(message)
        self.smallest = smallest
        self.missing = missing


@dataclass(frozen=True)
class Scoring:
    """How calibration scores came about, which decides what they can promise.

    `held out`: by a detector that never saw them. `cross-fitted`: each against references of the other `folds`.
    `same batches`: compared with the other pictures of batches of `batch` pictures, as the pictures judged later
    are. `other batches`: compared with others, but not as later.
    """

    kind: Kind = "held out"
    folds: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SteerAnomalyError(
                f"expected scores {', '.join(get_args(Kind))}, got {self.kind}; calibrate again"
            )
        for name, count in (("folds", self.folds), ("pictures of a batch", self.batch)):
            if count is not None and (type(count) is not int or count < 2):
                raise SteerAnomalyError(
                    f"expected a number of {name}, two at least, got {count}; calibrate again"
                )


HELD_OUT = Scoring()


@dataclass(frozen=True)
class Promise:
    """What is known of the false-alarm rate when the threshold is the `rank`-th largest of `n` parts' scores.

    `confidence` is within 0..1; `target` the rate asked for (0..1), None when none was.
    """

    n: int
    rank: int
    confidence: float
    scoring: Scoring = HELD_OUT
    target: float | None = None

    def __post_init__(self) -> None:
        asked = self.target is None or 0 < self.target < 1
        if not (type(self.rank) is int and 1 <= self.rank <= self.n and 0 < self.confidence < 1 and asked):
            raise SteerAnomalyError(
                f"expected a rank from 1 to the {self.n} calibration parts, and confidence and target between "
                f"0 and 1, got {self.rank}, {self.confidence} and {self.target}; calibrate again"
            )

    @property
    def expected(self) -> float | None:
        """The false-alarm rate (0..1) averaged over calibrations like this one; None where none is known."""
        return None if self.scoring.kind == "other batches" else expected_rate(self.n, self.rank)

    @property
    def bound(self) -> float | None:
        """Upper bound of the rate (0..1) at the confidence; an estimate unless `guaranteed`; None where unknown."""
        known = self.scoring.kind != "other batches"
        return upper_bound(self.n, self.rank, self.confidence) if known else None

    @property
    def guaranteed(self) -> bool:
        """Whether the bound is proven: the parts were held out of everything the detector is made of."""
        return self.scoring.kind == "held out"

    @property
    def met(self) -> bool:
        """Whether the bound is within the rate asked for; True when none was asked."""
        return self.target is None or (self.bound is not None and self.bound <= self.target)

    @property
    def proven_mean(self) -> float | None:
        """Cross-fitting: what the rate (0..1) stays below on average, if more references never raise a score.

        In a tournament of the n parts and m new ones, m the size of a fold, at most 2(r - 1) + m win against all but
        r - 1 of the other folds (counting as Barber et al. 2021, proofs of theorems 1 and 4). None for unequal folds.
        """
        folds = self.scoring.folds
        if self.scoring.kind != "cross-fitted" or not folds or self.n % folds:
            return None
        fold = self.n // folds
        return min(1.0, (2 * (self.rank - 1) + fold) / (self.n + fold))

    def chance_of_at_most(self, count: int, pictures: int) -> float:
        """How likely at most `count` of so many further good parts are alarms, 0..1, before either is photographed."""
        from scipy.stats import betabinom

        return float(betabinom.cdf(count, pictures, self.rank, self.n + 1 - self.rank))

    def most_alarms(self, pictures: int) -> int:
        """So many of that many further good parts are alarms at most, with the confidence (beta-binomial quantile)."""
        from scipy.stats import betabinom

        return int(betabinom.ppf(self.confidence, pictures, self.rank, self.n + 1 - self.rank))

    def sentence(self) -> str:
        """The promise in words an engineer can sign, and what it rests on."""
        words = {
            "held out": self._held_out, "cross-fitted": self._cross_fitted,
            "same batches": self._same_batches, "other batches": self._other_batches,
        }[self.scoring.kind]()  # fmt: skip
        missed = "" if self.met else f" The rate asked for, {percent(self.target or 0)}, is not kept."
        return words + missed

    def _held_out(self) -> str:
        return (
            f"{self._above()} The false-alarm rate is expected to be {percent(self.expected or 0)} and is at most "
            f"{percent(self.bound or 0)} with {percent(self.confidence)} confidence, for parts and photographs like "
            f"the {self.n} it was calibrated on: were the calibration repeated, {percent(self.confidence)} of such "
            "bounds would hold."
        )

    def _cross_fitted(self) -> str:
        mean = self.proven_mean
        proven = (
            f" Proven is less: {percent(mean)} at most on average over calibrations, if more references never raise "
            "a score." if mean is not None else ""
        )  # fmt: skip
        return (
            f"{self._above()} Each was scored against the references of other parts ({self.scoring.folds} folds). The "
            f"false-alarm rate is estimated at {percent(self.expected or 0)}, and below {percent(self.bound or 0)} "
            f"with {percent(self.confidence)} confidence; this is an estimate and no guarantee, since the scores share "
            f"references.{proven} For a guarantee keep parts apart from the references."
        )

    def _same_batches(self) -> str:
        size = f" of {self.scoring.batch} pictures" if self.scoring.batch else ""
        return (
            f"{self._above()} They were scored in batches{size}, so the statement holds only for pictures judged in "
            f"batches of the same size and kind, with as few defects. There the false-alarm rate is expected to be "
            f"{percent(self.expected or 0)}; below {percent(self.bound or 0)} with {percent(self.confidence)} "
            "confidence is an estimate and no guarantee, since scores of one batch depend on each other."
        )

    def _other_batches(self) -> str:
        return (
            f"{self._above()} No false-alarm rate is promised: a picture's score depends on the pictures it is judged "
            "with, and these were not calibrated in batches of the same kind."
        )

    def _above(self) -> str:
        above = self.rank - 1
        count = "None" if above == 0 else f"At most {above}"
        return f"{count} of {self.n} good part{'s' * (self.n != 1)} scored above the threshold."


def expected_rate(n: int, rank: int) -> float:
    """Mean of Beta(rank, n + 1 - rank): the false-alarm rate (0..1) averaged over calibrations."""
    return rank / (n + 1)


def upper_bound(n: int, rank: int, confidence: float) -> float:
    """The rate (0..1) that Beta(rank, n + 1 - rank) stays below with `confidence` (0..1)."""
    from scipy.stats import beta  # a third of a second, and not every run needs it

    return float(beta.ppf(confidence, rank, n + 1 - rank))


def largest_rank(n: int, target: float, confidence: float) -> int:
    """The largest rank whose upper bound keeps to `target` (0..1); 0 when not even the largest score does."""
    from scipy.stats import beta  # a third of a second, and not every run needs it

    ranks = np.arange(1, n + 1)
    return int((beta.cdf(target, ranks, n + 1 - ranks) >= confidence).sum())


def parts_needed(target: float, confidence: float, rank: int = 1) -> int:
    """The fewest parts for which the threshold at `rank` keeps to `target` (0..1) with `confidence` (0..1)."""
    from scipy.stats import beta  # a third of a second, and not every run needs it

    enough = bisect_left(
        range(rank, MOST_PARTS), True, key=lambda n: bool(beta.cdf(target, rank, n + 1 - rank) >= confidence)
    )
    return rank + enough


def promised(
    n: int,
    target: float | None,
    confidence: float,
    scoring: Scoring = HELD_OUT,
    *,
    best_effort: bool = False,
) -> Promise:
    """The promise with the largest rank that keeps to `target`; without a target the largest score is the threshold.

    With `best_effort` too few parts give what they can. Raises `TooFewParts` otherwise, and `SteerAnomalyError` for
    no part at all or rates outside 0..1.
    """
    _check(n, target, confidence)
    rank = 1 if target is None else max(1, largest_rank(n, target, confidence))
    promise = Promise(n, rank, confidence, scoring, target)
    if not (promise.met or best_effort):
        raise _unmet(promise)
    return promise


def _check(n: int, target: float | None, confidence: float) -> None:
    if n < 1:
        raise SteerAnomalyError(
            "expected photographs of good parts to calibrate on, got none; give at least one"
        )
    for name, rate in (("false-alarm rate", target), ("confidence", confidence)):
        if rate is not None and not 0 < rate < 1:
            raise SteerAnomalyError(
                f"expected a {name} between 0 % and 100 %, got {100 * rate:g} %; give such as 5 %"
            )


def _unmet(promise: Promise) -> TooFewParts:
    asked, n = promise.target or 0.0, promise.n
    wish = f"a false-alarm rate of at most {percent(asked)} with {percent(promise.confidence)} confidence"
    if promise.bound is None:
        return TooFewParts(
            f"cannot promise {wish}: the good pictures were not scored in batches of the same kind as those to be "
            "judged; calibrate in such batches, or go on without a promise by --best-effort", None, None,
        )  # fmt: skip
    needed = parts_needed(asked, promise.confidence)
    return TooFewParts(
        f"{wish} needs {needed} good parts, got {n}: the smallest rate that can be promised with these is "
        f"{percent(promise.bound)}. Photograph {needed - n} more, ask for {ceil(1000 * promise.bound) / 10:g} %, or "
        "take what can be had with --best-effort", promise.bound, needed - n,
    )  # fmt: skip


def percent(rate: float) -> str:
    """A rate (0..1) as people write it: `4.8 %`, `0.25 %`, `5 %`."""
    value = 100 * rate
    return f"{round(value, 1):g} %" if value >= 1 else f"{value:.2g} %"
