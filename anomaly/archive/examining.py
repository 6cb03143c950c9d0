"""What a worker does with the images of a shard: read, inspect, and make a row of each. Knows no engine and no table.

One image at a time and one thread to compute with: no batch, no number of workers moves a score.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomaly.archive.columns import error_row, image_row
from anomaly.archive.entry import Entry
from anomaly.archive.places import Place
from anomaly.archive.reading import Picture, read_picture
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection
from anomaly.runs.loop import Failure, run_all, why_not_judged

if TYPE_CHECKING:
    from anomaly.inspector import Inspector

Row = dict[str, Any]


class Alone(Protocol):
    """What examining needs of `anomaly.inspector.Inspector`, or of one that compares with a bank."""

    def inspect_batch(self, images: list[np.ndarray], object: str) -> list[Inspection | NotJudged]:
        """One inspection per RGB uint8 H x W x 3 image, in order, or why there is none."""


class Examiner:
    """Makes rows of entries, for the part called `part`. `settings_hash` is written into each row."""

    def __init__(self, inspector: Alone, part: str, settings_hash: str) -> None:
        self.inspector, self.part, self.settings_hash = inspector, part, settings_hash

    def rows(self, entries: Sequence[Entry]) -> Iterator[Row]:
        """A row for each entry, in order; the next pictures are fetched while one is inspected."""
        for entry, row in run_all(
            entries,
            read_picture,
            self._inspected,
            lambda picture, found: why_not_judged(picture.image, found),
            lambda picture, found: partial(
                image_row, picture.entry, picture.image, found, self.settings_hash
            ),
            batch_size=1,
        ):
            yield row if isinstance(row, dict) else self.failure(entry, row)

    def row(self, entry: Entry) -> Row:
        """The row of one entry, nothing beside it: for finding the picture that ends its worker."""
        return next(self.rows([entry]))

    def failure(self, entry: Entry, why: Failure) -> Row:
        """The row of an entry without a result."""
        verdict = "unreadable" if why.unreadable else "failed"
        return error_row(entry, self.part, verdict, why.reason, self.settings_hash)

    def _inspected(self, pictures: list[Picture]) -> Sequence[Inspection | NotJudged]:
        """Of an archive no picture may stop the rest: what was not foreseen is told in the errors table."""
        try:
            return self.inspector.inspect_batch([one.image for one in pictures], self.part)
        except SteerAnomalyError:
            raise  # settings; every picture would fail
        except Exception as error:
            return [NotJudged(f"not judged: {type(error).__name__}: {error}") for _ in pictures]


def examiner_of(make: Callable[[], Inspector], part: str, bank: Place | None = None) -> Examiner:
    """An examiner with its model loaded, in this process, which computes with one thread from now on.

    `bank` is the place of the table whose images are compared with its bank.
    """
    one_thread()
    inspector = make()
    inspector.prepare(part, last=True)
    one_thread()  # of torch, which is there now
    settings_hash = inspector.settings.hash
    if bank is None:
        return Examiner(inspector, part, settings_hash)
    from anomaly.archive import bank as banks

    kept = banks.load(bank)
    if kept is None:
        raise SteerAnomalyError(
            f"expected a bank of images at {bank.full(banks.FILE)}: run the same command again"
        )
    return Examiner(banks.BesideBank(inspector, kept, part), part, settings_hash)


def one_thread() -> None:
    """Have this process compute with one thread: as many processes work as there are cores. Imports no torch."""
    import cv2

    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # for what is not loaded yet
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
