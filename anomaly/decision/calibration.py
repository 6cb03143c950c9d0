"""Scores of good parts: the threshold they give, where a new score stands among them, and what was measured with it.

Scores are numbers here, of any unit, higher is odder. What they promise is said in `promise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.decision.promise import HELD_OUT, Scoring, percent, upper_bound
from anomaly.errors import SteerAnomalyError

SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


@dataclass(frozen=True)
class Calibration:
    """Scores of pictures of good parts, one per picture.

    `peaks` are the highest values of their heatmaps (None when not known). `parts` says which part each picture
    shows, any integers; None when each shows another. A part scores what its oddest picture scores, so n counts
    parts and a false alarm is a part's. Raises `SteerAnomalyError` for no scores, for scores that are not finite, and
    for lists of different lengths.
    """

    scores: tuple[float, ...]
    peaks: tuple[float, ...] | None = None
    parts: tuple[int, ...] | None = None
    scoring: Scoring = HELD_OUT

    def __post_init__(self) -> None:
        if not self.scores:
            raise SteerAnomalyError(
                "expected scores of good pictures, got none; give at least one good picture"
            )
        for name, values in (("scores", self.scores), ("map maxima", self.peaks)):
            _check_finite(name, values)
        for name, column in (("map maxima", self.peaks), ("parts", self.parts)):
            if column is not None and len(column) != len(self.scores):
                raise SteerAnomalyError(
                    f"expected {len(self.scores)} {name}, one per score, got {len(column)}; calibrate again"
                )

    @property
    def n(self) -> int:
        """How many parts there are."""
        return len(self.ascending)

    @cached_property
    def ascending(self) -> np.ndarray:
        """The parts' scores, float64 (n,), lowest first."""
        return np.sort(self._of_parts(self.scores))

    def threshold(self, rank: int) -> float:
        """The `rank`-th largest score of a part: a score above it is an alarm. Raises for a rank not in 1..n."""
        return float(self._largest(self.ascending, rank))

    def mask_level(self, rank: int) -> float | None:
        """The level that all parts' heatmaps but `rank` - 1 exceed nowhere; None when no maxima are known.

        Pixels above it are outlined. A good part has such a pixel at the same rate as `threshold(rank)` alarms.
        """
        if self.peaks is None:
            return None
        return float(self._largest(np.sort(self._of_parts(self.peaks)), rank))

    def p_value(self, score: float) -> float:
        """(1 + parts scoring at least this) / (n + 1), within 0..1; low is odd.

        It is at most rank / (n + 1) exactly for scores above `threshold(rank)`. Raises for a score that is not finite.
        """
        _check_finite("scores", (score,))
        below = int(np.searchsorted(self.ascending, score, side="left"))
        return (1 + self.n - below) / (self.n + 1)

    def spreads(self, score: float) -> float | None:
        """How many robust standard deviations above the median good part; None when most are exactly alike."""
        middle = np.median(self.ascending)
        return float(score - middle) / self.spread if self.spread > 0 else None

    @cached_property
    def spread(self) -> float:
        """The robust standard deviation of the good parts' scores, 0 when most are exactly alike."""
        return SIGMA * float(np.median(np.abs(self.ascending - np.median(self.ascending))))

    def remarks(self) -> tuple[str, ...]:
        """What a person should know before signing, in sentences: identical scores, very few parts."""
        said = []
        if self.n > 1 and self.ascending[0] == self.ascending[-1]:
            said.append(
                f"All {self.n} good parts score {self.ascending[0]:g}, exactly the same. The threshold holds, but any "
                "higher score is an alarm: see whether the pictures differ and show the part."
            )
        if self.n < 3:
            said.append(
                f"Only {self.n} good part{'s' * (self.n != 1)}: outliers among the good and ordinary differences of "
                "the part cannot be told apart."
            )
        repeated = len(self.scores) - self.n
        if repeated:
            said.append(f"{len(self.scores)} pictures show {self.n} parts; each part counts once.")
        return tuple(said)

    def _of_parts(self, values: Sequence[float]) -> np.ndarray:
        array = np.asarray(values, np.float64)
        if self.parts is None:
            return array
        _, part = np.unique(self.parts, return_inverse=True)
        highest = np.full(part.max() + 1, -np.inf)
        np.maximum.at(highest, part, array)
        return highest

    def _largest(self, ascending: np.ndarray, rank: int) -> float:
        if not 1 <= rank <= len(ascending):
            raise SteerAnomalyError(
                f"expected a rank from 1 to {len(ascending)}, the number of parts, got {rank}"
            )
        return float(ascending[-rank])


@dataclass(frozen=True)
class Measured:
    """A share that was counted, `count` of `total`, with its Clopper-Pearson interval `low`..`high` (0..1)."""

    count: int
    total: int
    low: float
    high: float
    confidence: float

    @property
    def rate(self) -> float:
        """The share counted, 0..1."""
        return self.count / self.total

    def sentence(self, what: str) -> str:
        """In words; `what` names that which was counted, such as "defects missed"."""
        return (
            f"{self.count} of {self.total} {what} ({percent(self.rate)}; {percent(self.confidence)} interval "
            f"{percent(self.low)} to {percent(self.high)})."
        )


def measured(count: int, total: int, confidence: float = 0.95) -> Measured:
    """`count` of `total` with the two-sided Clopper-Pearson interval. Raises for a total below 1 or a count outside."""
    if total < 1 or not 0 <= count <= total:
        raise SteerAnomalyError(f"expected a count from 0 to the number of pictures, got {count} of {total}")
    from scipy.stats import binomtest  # a third of a second, and not every run needs it

    interval = binomtest(count, total).proportion_ci(confidence, method="exact")
    return Measured(count, total, float(interval.low), float(interval.high), confidence)


def misses(threshold: float, defective: Sequence[float], confidence: float = 0.95) -> Measured:
    """Scores of defective pictures that are not above the threshold. Raises for none, or one that is not finite."""
    _check_finite("scores", defective)
    return measured(sum(score <= threshold for score in defective), len(defective), confidence)


def false_alarms(threshold: float, good: Sequence[float], confidence: float = 0.95) -> Measured:
    """Scores of other good pictures that are above the threshold. Raises for none, or one that is not finite."""
    _check_finite("scores", good)
    return measured(sum(score > threshold for score in good), len(good), confidence)


@dataclass(frozen=True)
class Choice:
    """One threshold that could be chosen: its false-alarm bound (0..1), and the misses where defects are known."""

    rank: int
    threshold: float
    bound: float
    misses: Measured | None


def choices(
    calibration: Calibration, confidence: float, defective: Sequence[float] = (), most: int = 200
) -> list[Choice]:
    """The trade-off, one choice per rank (at most `most`, spread evenly), from the highest threshold down."""
    ranks = np.unique(np.linspace(1, calibration.n, min(most, calibration.n)).round().astype(int))
    found = []
    for rank in map(int, ranks):
        threshold = calibration.threshold(rank)
        missed = misses(threshold, defective, confidence) if len(defective) else None
        found.append(Choice(rank, threshold, upper_bound(calibration.n, rank, confidence), missed))
    return found


def _check_finite(name: str, values: Sequence[float] | None) -> None:
    wrong = [] if values is None else [i for i, value in enumerate(values) if not np.isfinite(value)]
    if values is not None and wrong:
        raise SteerAnomalyError(
            f"expected finite {name}, got {values[wrong[0]]} in place {wrong[0] + 1} of {len(values)}; a picture that "
            "cannot be scored must not calibrate: look at it, leave it out and calibrate again"
        )
