"""A run of an inspector over a set whose images are compared with each other: first each is observed, then all are
compared, then each is judged and written.

Stage one is kept below `observations/` and never repeated for an image that has not changed; stages two and three
hang on the whole set and are made again. Knows neither options nor progress bars.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomaly.errors import NotJudged
from anomaly.inspection import Inspection
from anomaly.observation import Observation
from anomaly.pictures.images import read_image
from anomaly.pictures.inputs import relative_name
from anomaly.runs.folder import ResultFolder
from anomaly.runs.loop import Failure, inference_workers, run_all, why_not_judged
from anomaly.runs.observations import Observations
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import explained


class SetInspector(Protocol):
    """What a run over a set needs of `anomaly.inspector.Inspector`."""

    def observe(self, images: Sequence[np.ndarray], object: str) -> Sequence[Observation]:
        """What the model says of each RGB uint8 H x W x 3 image alone, in order."""

    def compare_all(self, observed: Iterable[Observation], object: str, folder: Path) -> Any:
        """What `conclude` is given besides each observation; goes through all of them once, may keep files."""

    def conclude(self, observation: Observation, comparison: Any) -> Inspection | NotJudged:
        """The verdict on one image, given what all were found to be like."""

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able."""


@dataclass(frozen=True)
class _Photo:
    path: Path
    image: np.ndarray


@dataclass(frozen=True)
class _Observed:
    path: Path
    image: np.ndarray
    observation: Observation


def inspect_set_into(
    folder: ResultFolder,
    paths: Sequence[Path],
    roots: Sequence[Path],
    inspector: SetInspector,
    part: str,
    batch_size: int = 8,
    observed: Callable[[Path], object] = lambda path: None,
) -> Iterator[ImageRow]:
    """Inspect `paths` as one set of images of the part called `part`; yields each one's row when it is written.

    `observed` is told of each image that stage one is done with. Images that cannot be read or judged become rows of
    their own and are no part of the set. Raises `OutputError` when the folder cannot be written to.
    """
    kept, key = Observations(folder.path / "observations"), set_of(folder, paths)
    names = {path: folder.name_of(relative_name(path, roots), path) for path in paths}
    failures = dict(_observe(folder, paths, names, kept, inspector, part, batch_size, observed))
    sound = [path for path in paths if path not in failures]
    for path, failure in failures.items():
        yield _failed(folder, path, names[path], failure)
    called: dict[str, str] = {}  # content -> name
    with explained("what is compared", folder.path, None):
        comparison = inspector.compare_all(
            _loaded(kept, [names[path] for path in sound], called),
            part,
            folder.path / "observations" / "compared",
        )
    for path, row in run_all(
        sound,
        lambda path: _Observed(path, read_image(path), kept.load(names[path])),
        lambda batch: [inspector.conclude(one.observation, comparison) for one in batch],
        lambda one, inspection: why_not_judged(one.image, inspection),
        lambda one, inspection: folder.begin(names[one.path], one.path, one.image, inspection),
        batch_size=1,
    ):
        if isinstance(row, Failure):
            yield _failed(folder, path, names[path], row)
        else:
            closest = called.get(row.closest) if row.closest else None
            yield folder.add(replace(row, set=key, closest=closest))


def set_of(folder: ResultFolder, paths: Sequence[Path]) -> str:
    """SHA-256 in hex of the files `paths` as they are now (size and time of change), in whatever order."""
    stamped = sorted([os.fspath(path), *folder.stamp_of(path)] for path in paths)
    return hashlib.sha256(json.dumps(stamped).encode()).hexdigest()


def done_as_a_set(folder: ResultFolder, paths: Sequence[Path]) -> bool:
    """Whether every image is done and was compared with just these others."""
    if folder.pending(paths):
        return False
    key = set_of(folder, paths)
    rows = {row.path: row.set for row in folder.rows.values()}
    return all(rows.get(os.path.abspath(path)) == key for path in paths)  # noqa: PTH100  links are not followed


def _loaded(kept: Observations, names: Sequence[str], called: dict[str, str]) -> Iterator[Observation]:
    for name in names:
        one = kept.load(name)
        if one.description is not None:
            called.setdefault(one.description.content, name)
        yield one


def _observe(
    folder: ResultFolder,
    paths: Sequence[Path],
    names: dict[Path, str],
    kept: Observations,
    inspector: SetInspector,
    part: str,
    batch_size: int,
    observed: Callable[[Path], object],
) -> Iterator[tuple[Path, Failure]]:
    """Stage one, for the images that have not been observed yet; yields those that cannot be."""

    def write(photo: _Photo, found: Observation) -> Callable[[], None]:
        def finish() -> None:
            with explained(f"the observation of {photo.path}", folder.path, None):
                kept.save(names[photo.path], found, folder.stamp_of(photo.path))

        return finish

    pending = [path for path in paths if not kept.has(names[path], folder.stamp_of(path))]
    with inference_workers(str(inspector.describe().get("device"))) as workers:
        for path, row in run_all(
            pending,
            lambda path: _Photo(path, read_image(path)),
            lambda photos: inspector.observe([photo.image for photo in photos], part),
            lambda _, found: (
                None if np.isfinite(found.own).all() else "the model gave values that are not finite"
            ),
            write,
            batch_size=batch_size,
            workers=workers,
        ):
            observed(path)
            if isinstance(row, Failure):
                yield path, row


def _failed(folder: ResultFolder, path: Path, name: str, failure: Failure) -> ImageRow:
    return folder.fail(path, failure.reason, name, "unreadable" if failure.unreadable else "failed")
