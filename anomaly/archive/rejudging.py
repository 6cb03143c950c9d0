"""What another threshold would change in a table: verdicts counted again from its scores. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from anomaly.archive.columns import IMAGES
from anomaly.archive.places import Place
from anomaly.archive.table import chapters_of, read_rows
from anomaly.decision.gate import Look
from anomaly.decision.verdict import Judge

COLUMNS = ["score", "threshold", "verdict", "taken", "gate"]


@dataclass
class Changes:
    """How many images went from one verdict (`was`) to another (`would be`), and by month of their taking.

    `months`: defects that were, and that would be, by month as 2026-03; "unknown" without a time.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    months: dict[str, list[int]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(self.verdicts.values())

    @property
    def changed(self) -> int:
        """How many would have another verdict."""
        return sum(count for (was, now), count in self.verdicts.items() if was != now)


def changes(place: Place, judge: Judge, tick: Callable[[int], object] = lambda images: None) -> Changes:
    """What `judge`, which has a threshold, would say of the images of a table. `tick` is told of images done.

    Without a gate of its own it leaves those unfit that were. Raises `OSError`, `ArchiveError` for a damaged file.
    """
    found = Changes()
    assert judge.point is not None
    for chapter in chapters_of(place):
        for rows in read_rows(place, IMAGES, chapter, COLUMNS):
            for row in rows.to_pylist():
                now = _verdict(judge, row)
                month = row["taken"].strftime("%Y-%m") if row["taken"] else "unknown"
                of_month = found.months.setdefault(month, [0, 0])
                of_month[0] += row["verdict"] == "defect"
                of_month[1] += now == "defect"
                found.verdicts[row["verdict"], now] += 1
            tick(rows.num_rows)
    return found


def _verdict(judge: Judge, row: dict[str, Any]) -> str:
    score, was, look = row["score"], row["verdict"], row["gate"]
    if judge.gate is not None and look is not None:
        if judge.unfit(Look(**look)):
            return "unfit"
    elif was == "unfit" and judge.profile is None:
        return "unfit"
    assert judge.point is not None
    if was == "ok" and row["threshold"] is not None and score >= row["threshold"]:
        return "ok"  # its regions were smaller than what counts
    return "defect" if score >= judge.point.threshold else "ok"
