"""A version of a profile that is proposed, and what would change with it. Decides nothing and makes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anomaly.decision.profile import Profile
from anomaly.decision.verdict import point_of


@dataclass
class Proposal:
    """A version that is being made, or is ready to be applied.

    `state` is working, ready, failed or applied; `done` of `total` pictures; `message` what went wrong, or the promise.
    `contents` are the good pictures it was made of; `changes` the parts, of those looked at, whose verdict would be
    another one.
    """

    id: str
    profile: str
    reason: str
    state: str = "working"
    done: int = 0
    total: int = 0
    message: str = ""
    made: Profile | None = None
    contents: frozenset[str] = frozenset()
    how: str = ""
    base: str | None = None
    outliers: list[dict[str, Any]] = field(default_factory=list)
    looked_at: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)
    misses: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the profile itself, of which threshold and parts are told."""
        told = {name: value for name, value in self.__dict__.items() if name not in ("made", "contents")}
        if self.made is not None:
            told |= {"threshold": point_of(self.made).threshold, "parts": self.made.calibration.n}
            told |= {"bound": self.made.promise.bound, "references": len(self.made.provenance.references)}
        return told

    def looked(self, part: Mapping[str, Any], verdict: str, score: float | None) -> None:
        """Take what `part`, as the store keeps it, would be judged."""
        self.done += 1
        self.looked_at += 1
        if part["was"] == "defect":
            missed, known = self.misses or (0, 0)
            self.misses = missed + (verdict == "ok"), known + 1
        if verdict != part["verdict"]:
            self.changes.append(
                {"part": part["id"], "name": part["name"], "before": part["verdict"], "after": verdict,
                 "score": score, "was": part["was"]}
            )  # fmt: skip
