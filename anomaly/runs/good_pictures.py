"""Reads pictures and has each observed, before any of them is judged: what a calibration is made of.

Knows no profile and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly.decision.calibrating import Good
from anomaly.decision.gate import look
from anomaly.decision.split import thumbnail
from anomaly.evidence.descriptions import content_hash
from anomaly.observation import Observation
from anomaly.runs import observing
from anomaly.runs.loop import Failure
from anomaly.runs.observing import Photo

if TYPE_CHECKING:
    from anomaly.inspector import Inspector


def good_pictures(
    paths: Sequence[Path], inspector: Inspector, part: str, tick: Callable[[], object] = lambda: None
) -> tuple[list[Good], dict[Path, str]]:
    """What was seen of every picture that can be read, in order, and of the others why not.

    `tick` is called for each. Pictures are observed one at a time, so that no batch moves a score.
    """
    seen: list[Good] = []
    failed: dict[Path, str] = {}
    for path, row in observing.observe_all(paths, inspector, part, _seen, batch_size=1):
        tick()
        if isinstance(row, Failure):
            failed[path] = row.reason
        else:
            seen.append(row)
    return seen, failed


def _seen(photo: Photo, found: Observation) -> Callable[[], Good]:
    def finish() -> Good:
        content = found.description.content if found.description else content_hash(photo.image)
        return Good(str(photo.path), content, found, thumbnail(photo.image), look(photo.image))

    return finish
