"""A run of an inspector over a set whose images are compared with each other: first each is observed, then all are
compared, then each is judged and written.

Stage one is kept below `observations/` and never repeated for an image that has not changed; stages two and three
hang on the whole set and are made again. Knows neither options nor progress bars.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anomaly.inspection import Inspection
from anomaly.observation import Observation
from anomaly.pictures.images import ImageError, read_image
from anomaly.pictures.inputs import relative_name
from anomaly.runs.company_previews import save_likest
from anomaly.runs.folder import ResultFolder
from anomaly.runs.loop import Failure, run_all, why_not_judged
from anomaly.runs.observations import Observations
from anomaly.runs.observing import SetInspector, observe_and_keep, unobserved
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import explained
from anomaly.runs.stamps import set_of


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
    kept = Observations(folder.path / "observations", inspector.description_hash)
    key = _set_of(paths)
    names = {path: folder.name_of(relative_name(path, roots), path) for path in paths}
    pending = unobserved(kept, {name: path for path, name in names.items()})
    failures: dict[Path, Failure] = {}
    for path, failure in observe_and_keep(kept, pending, inspector, part, folder.path, batch_size):
        observed(path)
        if failure is not None:
            failures[path] = failure
    sound = [path for path in paths if path not in failures]
    for path, failure in failures.items():
        yield _failed(folder, path, names[path], failure)
    called: dict[str, str] = {}  # content -> name
    with explained("what is compared", folder.path, None):
        comparison = inspector.compare_all(
            _loaded(kept, [names[path] for path in sound], called),
            part,
            kept.compared,
        )
    paths_of = {names[path]: path for path in sound}

    def write(one: _Observed, inspection: Inspection) -> Callable[[], ImageRow]:
        rest = folder.begin(names[one.path], one.path, one.image, inspection)

        def finish() -> ImageRow:
            other = called.get(inspection.closest or "")
            if other is not None and inspection.likest_patch is not None:
                with explained(f"the results of {one.path}", folder.path, None):
                    _show_likest(
                        folder, names[one.path], one.image, inspection, paths_of[other], kept.load(other)
                    )
            return rest()

        return finish

    for path, row in run_all(
        sound,
        lambda path: _Observed(path, read_image(path), kept.load(names[path])),
        lambda batch: [inspector.conclude(one.observation, comparison) for one in batch],
        lambda one, inspection: why_not_judged(one.image, inspection),
        write,
        batch_size=1,
    ):
        if isinstance(row, Failure):
            yield _failed(folder, path, names[path], row)
        else:
            closest = called.get(row.closest) if row.closest else None
            yield folder.add(replace(row, set=key, closest=closest))


def _show_likest(
    folder: ResultFolder, name: str, image: np.ndarray, inspection: Inspection, path: Path, other: Observation
) -> None:
    """For the report; a neighbour that cannot be read any more is not shown."""
    with suppress(ImageError):
        if other.description is not None:
            save_likest(folder.path, name, image, inspection, read_image(path), other.description.grid)


def done_as_a_set(folder: ResultFolder, paths: Sequence[Path]) -> bool:
    """Whether every image is done and was compared with just these others."""
    if folder.pending(paths):
        return False
    key = _set_of(paths)
    rows = {row.path: row.set for row in folder.rows.values()}
    return all(rows.get(os.path.abspath(path)) == key for path in paths)  # noqa: PTH100  links are not followed


def was_another_set(folder: ResultFolder, paths: Sequence[Path]) -> bool:
    """Whether what the folder holds was compared within a set that was not this one."""
    key = _set_of(paths)
    return any(row.set not in (None, key) for row in folder.rows.values())


def _set_of(paths: Sequence[Path]) -> str:
    return set_of({os.fspath(path): path for path in paths})


def _loaded(kept: Observations, names: Sequence[str], called: dict[str, str]) -> Iterator[Observation]:
    for name in names:
        one = kept.load(name)
        if one.description is not None:
            called.setdefault(one.description.content, name)
        yield one


def _failed(folder: ResultFolder, path: Path, name: str, failure: Failure) -> ImageRow:
    return folder.fail(path, failure.reason, name, "unreadable" if failure.unreadable else "failed")
