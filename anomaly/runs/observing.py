"""Step one of every run over a set: each picture is observed once, before any is judged.

Knows neither verdicts nor labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from anomaly.errors import NotJudged
from anomaly.inspection import Inspection
from anomaly.observation import Observation
from anomaly.pictures.images import read_image
from anomaly.runs.loop import Failure, inference_workers, run_all
from anomaly.runs.observations import Observations
from anomaly.runs.saving import explained
from anomaly.runs.stamps import Stamp, stamp_of

Row = TypeVar("Row")


class Observing(Protocol):
    """What observing needs of `anomaly.inspector.Inspector`."""

    def observe(self, images: Sequence[np.ndarray], object: str) -> Sequence[Observation]:
        """What the model says of each RGB uint8 H x W x 3 image alone, in order."""

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able."""


class SetInspector(Observing, Protocol):
    """What a run over a set needs of it besides."""

    @property
    def description_hash(self) -> str:
        """SHA-256 in hex of how patches are described."""

    def compare_all(self, observed: Iterable[Observation], object: str, folder: Path) -> Any:
        """What `conclude` is given besides each observation; goes through all of them once, may keep files."""

    def conclude(self, observation: Observation, comparison: Any) -> Inspection | NotJudged:
        """The verdict on one image, given what all were found to be like."""


@dataclass(frozen=True)
class Photo:
    """A picture as it was read from `path`, RGB uint8 H x W x 3, and the file's stamp then."""

    path: Path
    image: np.ndarray
    stamp: Stamp


def observe_all(
    paths: Sequence[Path],
    inspector: Observing,
    part: str,
    write: Callable[[Photo, Observation], Callable[[], Row]],
    batch_size: int = 8,
) -> Iterator[tuple[Path, Row | Failure]]:
    """Have every picture of the part called `part` observed; yields each with what `write` made of it, in order.

    Up to `batch_size` pictures are observed in one call. A picture that cannot be read, or whose map is not finite,
    comes out as a `Failure`. `write` as in `loop.run_all`.
    """
    with inference_workers(str(inspector.describe().get("device"))) as workers:
        yield from run_all(
            paths,
            lambda path: Photo(path, read_image(path), stamp_of(path)),
            lambda photos: inspector.observe([photo.image for photo in photos], part),
            lambda _, found: _why_not(found),
            write,
            batch_size=batch_size,
            workers=workers,
        )


def _why_not(found: Observation) -> str | None:
    patches = found.description.patches if found.description else np.zeros(1)
    with np.errstate(over="ignore"):
        half = patches.astype(np.float16)  # as they are kept
    sound = np.isfinite(found.own).all() and np.isfinite(half).all()
    return None if sound else "the model gave values that are not finite"


def unobserved(kept: Observations, files: Mapping[str, Path]) -> dict[Path, str]:
    """Of files by name those that have not been observed as they are now, with their names."""
    return {path: name for name, path in files.items() if not kept.has(name, stamp_of(path))}


def observe_and_keep(
    kept: Observations, names: Mapping[Path, str], inspector: Observing, part: str, out: Path, batch_size: int
) -> Iterator[tuple[Path, Failure | None]]:
    """As `observe_all`; what is seen of each picture is kept under its name, None comes out with it.

    Raises `OutputError` when it cannot be written below `out`.
    """

    def write(photo: Photo, found: Observation) -> Callable[[], None]:
        def finish() -> None:
            with explained(f"the observation of {photo.path}", out, None):
                kept.save(names[photo.path], found, photo.stamp)

        return finish

    yield from observe_all(list(names), inspector, part, write, batch_size)
