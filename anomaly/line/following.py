"""Drift of each profile while the line runs, from its own parts. Knows numbers and verdicts, no pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from anomaly.decision.drift import Drift
from anomaly.decision.profile import Profile

SHOWN = 400  # steps of the plot


class Following:
    """The martingale of one version of a profile, fed part by part; `parts` that are kept first, in their order."""

    def __init__(self, profile: Profile, parts: Iterable[Mapping[str, Any]] = ()) -> None:
        good = profile.calibration
        self.drift = Drift(good.ascending.tolist(), profile.threshold, exact=profile.promise.guaranteed)
        self._capitals: deque[float] = deque(maxlen=SHOWN)
        self.alarm_at: int | None = None
        self._replayed = 0
        for part in parts:
            self.take(part["id"], part["verdict"], part["score"])
            self._replayed = part["id"]

    def take(self, number: int, verdict: str, score: float | None) -> bool:
        """The part of this id; whether it raised the alarm. Parts that were not judged do not count."""
        if number <= self._replayed or verdict not in ("ok", "defect") or score is None:
            return False
        step = self.drift.update(score)
        self._capitals.append(step.capital)
        raised = step.alarm and self.alarm_at is None
        if raised:
            self.alarm_at = number
        return raised

    def found(self) -> dict[str, Any]:
        """Alarm, evidence and the line of its plot: 0..600 across, 0..88 down, logarithmic up to the alarm's level."""
        drift = self.drift
        return {
            "alarm": drift.alarm, "alarm_at": self.alarm_at, "alarm_level": 1 / drift.alpha, "capital": drift.capital,
            "followed": drift.fed, "set_aside": drift.aside, "sentence": drift.sentence(),
            "points": self._points(1 / drift.alpha), "alarm_y": _height(0.0, 1.0, 1.0),
        }  # fmt: skip

    def _points(self, level: float) -> str:
        top = float(np.log(level))
        logs = np.clip(np.log(np.maximum(list(self._capitals) or [1.0], 1e-6)), -top, 1.2 * top)
        last = max(1, len(logs) - 1)
        return " ".join(f"{600 * i / last:.1f},{_height(0.0, one, top)}" for i, one in enumerate(logs))


def _height(middle: float, value: float, top: float) -> float:
    """From the alarm's level near the upper edge to its inverse at the lower one."""
    return round(84 - 80 * (value - middle + top) / (2.2 * top), 1)
