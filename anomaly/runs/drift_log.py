"""Has the line changed since the calibration? Follows the rows of a run in their order, and keeps `drift.json`.

Knows no images: what was measured on each stands in its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anomaly.decision.drift import Drift, Level
from anomaly.decision.profile import Profile
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import explained, save_json

FILE = "drift.json"
MEASURES = ("brightness", "sharpness")  # of the photographs, beside the score


class Followed:
    """What became of the line, row after row; made from the profile that it was calibrated with."""

    def __init__(self, profile: Profile) -> None:
        good = profile.calibration
        self.drift = Drift(good.ascending.tolist(), profile.threshold, exact=profile.promise.guaranteed)
        self._levels = {"score": Level.learn(good.scores)}
        self._levels |= {
            name: Level.learn([getattr(one, name) for one in profile.looks])
            for name in MEASURES
            if profile.looks
        }
        self._steps: list[dict[str, Any]] = []
        self.alarm_at: str | None = None

    def take(self, row: ImageRow) -> bool:
        """The next row; whether it raised the alarm. Images that were not judged are no part of it."""
        if row.verdict not in ("ok", "defect") or row.score is None:
            return False
        step = self.drift.update(row.score)
        outside = [] if step.p_value is None else _outside(self._levels, row)
        self._steps.append(
            {"file": row.file, "p_value": step.p_value, "capital": step.capital, "outside": outside}
        )
        raised = step.alarm and self.alarm_at is None
        if raised:
            self.alarm_at = row.file
        return raised

    def found(self) -> dict[str, Any]:
        """The martingale and the levels so far, JSON-able.

        `steps` holds for each judged image its file, p-value (None when it was set aside), the capital after it, and
        which levels lay outside their limits.
        """
        drift = self.drift
        return {
            "alarm": drift.alarm,
            "alarm_at": self.alarm_at,
            "alarm_level": 1 / drift.alpha,
            "capital": drift.capital,
            "followed": drift.fed,
            "set_aside": drift.aside,
            "sentence": drift.sentence(),
            "levels": {
                name: level.to_dict() | {"limits": _finite(level.limits)}
                for name, level in self._levels.items()
            },
            "steps": self._steps,
        }


def follow(profile: Profile, rows: Iterable[ImageRow]) -> dict[str, Any]:
    """What `Followed.found` says after `rows`, in this order."""
    followed = Followed(profile)
    for row in rows:
        followed.take(row)
    return followed.found()


def write(out: Path, found: dict[str, Any]) -> None:
    """Keep what `follow` found below `out`. Raises `OutputError`."""
    with explained(FILE, out, None):
        save_json(out / FILE, found)


def brief(found: dict[str, Any]) -> dict[str, Any]:
    """What the report shows: everything but files and p-values, the capitals of at most 400 steps."""
    steps = found["steps"]
    step = max(1, len(steps) // 400)
    kept = {key: value for key, value in found.items() if key != "steps"}
    return kept | {"capitals": [one["capital"] for one in steps[::step]]}


def _outside(levels: dict[str, Level], row: ImageRow) -> list[str]:
    values = {"score": row.score} | {name: (row.look or {}).get(name) for name in MEASURES}
    return [
        name for name, level in levels.items() if (value := values[name]) is not None and level.update(value)
    ]


def _finite(limits: tuple[float, float]) -> list[float | None]:
    return [end if abs(end) < float("inf") else None for end in limits]
