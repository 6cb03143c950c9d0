"""Reads pictures and has each observed, before any of them is judged: what a calibration is made of.

Knows no profile and no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomaly.decision.calibrating import Good
from anomaly.decision.gate import look
from anomaly.decision.split import thumbnail
from anomaly.evidence.descriptions import content_hash
from anomaly.observation import Observation
from anomaly.pictures.images import read_image
from anomaly.runs.loop import Failure, inference_workers, run_all

if TYPE_CHECKING:
    from anomaly.inspector import Inspector


@dataclass(frozen=True)
class _Photo:
    path: Path
    image: np.ndarray


def observe_all(
    paths: Sequence[Path], inspector: Inspector, part: str, tick: Callable[[], object] = lambda: None
) -> tuple[list[Good], dict[Path, str]]:
    """What was seen of every picture that can be read, in order, and of the others why not.

    `tick` is called for each. Pictures are observed one at a time, so that no batch moves a score.
    """
    seen: list[Good] = []
    failed: dict[Path, str] = {}
    with inference_workers(str(inspector.device)) as workers:
        for path, row in run_all(
            paths,
            lambda path: _Photo(path, read_image(path)),
            lambda photos: [found for one in photos for found in inspector.observe([one.image], part)],
            lambda _, found: (
                None if np.isfinite(found.own).all() else "the model gave values that are not finite"
            ),
            _seen,
            batch_size=1,
            workers=workers,
        ):
            tick()
            if isinstance(row, Failure):
                failed[path] = row.reason
            else:
                seen.append(row)
    return seen, failed


def _seen(photo: _Photo, found: Observation) -> Callable[[], Good]:
    def finish() -> Good:
        content = found.description.content if found.description else content_hash(photo.image)
        return Good(str(photo.path), content, found, thumbnail(photo.image), look(photo.image))

    return finish
