"""Has the line changed since the calibration? Evidence that grows part by part, and levels that wander.

It sees numbers only: scores, brightness, sharpness. What changed, and whether parts are good, it cannot know.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly.decision.promise import percent
from anomaly.errors import SteerAnomalyError

BETS = (-1.9, -1.0, 0.0, 1.0, 1.9)  # against high p-values (scores fell) to against low ones (they rose)
JUMP = 0.01  # share of the capital that is dealt out anew after every part
WEIGHT = 0.1  # of the newest value in a level
TAIL = 0.5 * math.erfc(
    4 / math.sqrt(2)
)  # of a level's limits: four standard deviations where the calibration is large
VERSION = 1


@dataclass(frozen=True)
class Step:
    """What one part did: its p-value (None when it was set aside), the `capital` after it, and the alarm so far."""

    p_value: float | None
    capital: float
    alarm: bool


class Drift:
    """A conformal test martingale on scores in order of time: the simple jumper of Vovk et al. 2021 (PMLR 152:191-210).

    Each score is ranked among those of the calibration and all earlier ones; while all are exchangeable these
    p-values are independent and uniform, and a fair bet on them reaches 1 / alpha with probability alpha at most,
    ever (Ville's inequality). Only accepted parts are fed: scores at the threshold or above are set aside, in the
    calibration too, since both sides have to be cut alike for the promise to hold.
    """

    def __init__(
        self,
        calibration: Sequence[float],
        threshold: float | None = None,
        *,
        alpha: float = 0.01,
        seed: int = 0,
        exact: bool = True,
    ) -> None:
        """`calibration` scores in any order; `alpha` within 0..1; `exact` is `Promise.guaranteed` of the calibration.

        Raises `SteerAnomalyError` for scores that are not finite or another alpha.
        """
        if not 0 < alpha < 1:
            raise SteerAnomalyError(f"expected an alpha between 0 and 1, got {alpha:g}; 0.01 alarms at 100")
        self.threshold, self.alpha, self.seed, self.exact = threshold, alpha, seed, exact
        self.fed = self.aside = 0
        self.alarmed_at: int | None = None
        self._log_capital = 0.0
        self._shares = np.full(len(BETS), 1 / len(BETS))
        self._scores = sorted(score for score in map(_finite, calibration) if self._accepts(score))

    @property
    def capital(self) -> float:
        """The evidence against "nothing changed": starts at 1; the alarm is at 1 / alpha. At most 1e300."""
        return math.exp(min(self._log_capital, math.log(1e300)))

    @property
    def alarm(self) -> bool:
        """Whether the capital has ever reached 1 / alpha. It stays; calibrate again to start anew."""
        return self.alarmed_at is not None

    def update(self, score: float) -> Step:
        """Take the next part's score. Raises `SteerAnomalyError`, and takes nothing, when it is not finite."""
        if not self._accepts(_finite(score)):
            self.aside += 1
            return Step(None, self.capital, self.alarm)
        p_value = self._rank(score)
        self._bet(p_value)
        insort(self._scores, score)
        return Step(p_value, self.capital, self.alarm)

    def sentence(self) -> str:
        """What the alarm promises, and what it does not."""
        if self.exact:
            promise = (
                f"If the accepted parts keep scoring like the accepted parts of the calibration, in no order, the "
                f"chance that this alarm is ever raised, however many parts come, is at most {percent(self.alpha)}."
            )
        else:
            promise = (
                "This alarm is a signal to look and comes without a promise: the calibration's scores were not taken "
                "as those of the parts judged now."
            )
        return (
            f"{promise} It does not promise that a change is found, nor how soon; it does not see parts above the "
            "threshold, nor say what changed. After an alarm look at the parts and calibrate again."
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole state as JSON-able values: `from_dict` goes on exactly where this one is."""
        return {
            "version": VERSION, "threshold": self.threshold, "alpha": self.alpha, "seed": self.seed,
            "exact": self.exact, "fed": self.fed, "set_aside": self.aside, "alarmed_at": self.alarmed_at,
            "log_capital": self._log_capital, "shares": self._shares.tolist(), "scores": self._scores,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Drift:
        """The inverse of `to_dict`. Raises `SteerAnomalyError` for what it did not write."""
        try:
            if state["version"] != VERSION or len(state["shares"]) != len(BETS):
                raise ValueError(f"version {state['version']}")
            again = cls(
                state["scores"],
                state["threshold"],
                alpha=state["alpha"],
                seed=state["seed"],
                exact=state["exact"],
            )
            again.fed, again.aside, again.alarmed_at = state["fed"], state["set_aside"], state["alarmed_at"]
            again._log_capital = _finite(state["log_capital"])
            again._shares = np.array([_finite(share) for share in state["shares"]])
        except (KeyError, TypeError, ValueError) as error:
            raise SteerAnomalyError(
                f"expected a state of drift as version {VERSION} writes it, got one with {error}; start anew "
                "from the profile"
            ) from error
        return again

    def _accepts(self, score: float) -> bool:
        return self.threshold is None or score < self.threshold

    def _rank(self, score: float) -> float:
        """Share of scores above, ties and itself in part at random: exactly uniform while nothing changes."""
        draw = np.random.default_rng(
            [self.seed, self.fed]
        ).random()  # by the count: nothing to save but the seed
        low, high = bisect_left(self._scores, score), bisect_right(self._scores, score)
        return (len(self._scores) - high + draw * (high - low + 1)) / (len(self._scores) + 1)

    def _bet(self, p_value: float) -> None:
        """Every account bets 1 + bet * (p - 1/2), whose mean is 1; then some capital jumps between accounts."""
        accounts = self._shares * (1 + np.array(BETS) * (p_value - 0.5))
        growth = float(accounts.sum())
        self._log_capital += math.log(growth)
        self._shares = (1 - JUMP) * accounts / growth + JUMP / len(BETS)
        self.fed += 1
        if self.alarmed_at is None and self._log_capital >= -math.log(self.alpha):
            self.alarmed_at = self.fed


@dataclass
class Level:
    """A two-sided exponentially weighted mean (Roberts 1959) of one measure, beside the martingale, without promise.

    `centre`, `spread` (mean, standard deviation) and `n` are of the calibration; `mean` of what came since.
    """

    centre: float
    spread: float
    n: int
    mean: float = field(default=math.nan)
    count: int = 0

    @classmethod
    def learn(cls, values: Sequence[float]) -> Level:
        """From the calibration's values. Raises `SteerAnomalyError` for none, or one that is not finite."""
        numbers = [_finite(value) for value in values]
        if not numbers:
            raise SteerAnomalyError(
                "expected values of good pictures, got none; give at least one good picture"
            )
        spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
        centre = float(np.mean(numbers))
        return cls(centre, spread, len(numbers), centre)

    def update(self, value: float) -> bool:
        """Take the next value; whether the mean now lies outside the limits."""
        self.mean += WEIGHT * (_finite(value) - self.mean)
        self.count += 1
        low, high = self.limits
        return not low <= self.mean <= high

    @property
    def limits(self) -> tuple[float, float]:
        """Where the mean should lie: infinitely wide for one calibration picture, wide for a few (Student's t).

        A level whose calibration values were all the same has no width beyond rounding.
        """
        from scipy.stats import t  # a third of a second, and not every run needs it

        if self.n < 2:
            return -math.inf, math.inf
        faded = WEIGHT / (2 - WEIGHT) * (1 - (1 - WEIGHT) ** (2 * self.count))
        reach = float(t.isf(TAIL, self.n - 1)) * self.spread * math.sqrt(faded + 1 / self.n)
        reach += 1e-9 * (1 + abs(self.centre))
        return self.centre - reach, self.centre + reach

    def to_dict(self) -> dict[str, float | int]:
        """JSON-able values, for `Level(**values)`."""
        return {
            "centre": self.centre, "spread": self.spread, "n": self.n, "mean": self.mean, "count": self.count,
        }  # fmt: skip


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise SteerAnomalyError(
            f"expected a finite number to follow, got {value}; a picture that could not be scored is not fed"
        )
    return float(value)
