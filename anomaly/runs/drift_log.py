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


def follow(profile: Profile, rows: Iterable[ImageRow]) -> dict[str, Any]:
    """The martingale and the levels over `rows`, in this order, JSON-able.

    `steps` holds for each judged image its file, p-value (None when it was set aside), the capital after it, and
    which levels lay outside their limits. Images that were not judged are no part of it.
    """
    good = profile.calibration
    drift = Drift(good.ascending.tolist(), profile.threshold, exact=profile.promise.guaranteed)
    levels = {"score": Level.learn(good.scores)}
    levels |= {
        name: Level.learn([getattr(one, name) for one in profile.looks]) for name in MEASURES if profile.looks
    }
    steps, alarm = [], None
    for row in rows:
        if row.verdict not in ("ok", "defect") or row.score is None:
            continue
        step = drift.update(row.score)
        outside = [] if step.p_value is None else _outside(levels, row)
        steps.append({"file": row.file, "p_value": step.p_value, "capital": step.capital, "outside": outside})
        if step.alarm and alarm is None:
            alarm = row.file
    return {
        "alarm": drift.alarm,
        "alarm_at": alarm,
        "alarm_level": 1 / drift.alpha,
        "capital": drift.capital,
        "followed": drift.fed,
        "set_aside": drift.aside,
        "sentence": drift.sentence(),
        "levels": {
            name: level.to_dict() | {"limits": _finite(level.limits)} for name, level in levels.items()
        },
        "steps": steps,
    }


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
