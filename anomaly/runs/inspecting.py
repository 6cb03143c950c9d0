"""A run of an inspector into a result folder: what `inspect` does, and whatever else fills such a folder.

Knows neither options nor progress bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomaly.errors import NotJudged
from anomaly.inspection import Inspection
from anomaly.pictures.images import read_image
from anomaly.pictures.inputs import relative_name
from anomaly.runs.folder import ResultFolder
from anomaly.runs.loop import Failure, inference_workers, inspect_all
from anomaly.runs.rows import ImageRow


class BatchInspector(Protocol):
    """What a run needs of `anomaly.inspector.Inspector`."""

    def inspect_batch(self, images: list[np.ndarray], object: str) -> list[Inspection | NotJudged]:
        """One inspection per RGB uint8 H x W x 3 image, in order, or why there is none."""

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able."""


@dataclass(frozen=True)
class _Photo:
    path: Path
    image: np.ndarray


def inspect_into(
    folder: ResultFolder,
    paths: Sequence[Path],
    roots: Sequence[Path],
    inspector: BatchInspector,
    part: str,
    batch_size: int = 8,
) -> Iterator[ImageRow]:
    """Inspect `paths` as images of the part called `part`; yields each one's row when it is in `folder`.

    `roots` are the folders that the names of the results start from (see `inputs.relative_name`). Raises
    `OutputError` when the folder cannot be written to; what was yielded stays.
    """

    def write(photo: _Photo, inspection: Inspection) -> Callable[[], ImageRow]:
        return folder.begin(relative_name(photo.path, roots), photo.path, photo.image, inspection)

    with inference_workers(str(inspector.describe().get("device"))) as workers:
        for path, row in inspect_all(
            paths,
            lambda path: _Photo(path, read_image(path)),
            lambda images: inspector.inspect_batch(images, part),
            write,
            batch_size=batch_size,
            workers=workers,
        ):
            if isinstance(row, Failure):
                verdict = "unreadable" if row.unreadable else "failed"
                yield folder.fail(path, row.reason, relative_name(path, roots), verdict)
            else:
                yield folder.add(row)
