"""What an archive would take: its images are counted, and some of them tried. Writes nothing."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from anomaly.archive.entry import Entry
from anomaly.archive.examining import Examiner
from anomaly.archive.reading import read_picture
from anomaly.errors import SteerAnomalyError
from anomaly.runs.rows import FAILURES

SAMPLE = 32  # images


@dataclass(frozen=True)
class Estimate:
    """`images` there are, of `size` bytes as far as is known; what `tried` of them took, and how many `failed`.

    `seconds` an image takes a worker, all in all, and `reading` of that, where nothing else is done meanwhile.
    """

    images: int
    size: int
    tried: int
    failed: int
    seconds: float
    reading: float

    def hours(self, workers: int) -> float:
        """How long `workers` take, each with a core of its own; starting them is not counted."""
        return self.images * self.seconds / workers / 3600


def sampled(
    entries: Iterable[Entry], most: int = SAMPLE, seed: int = 0, tick: Callable[[], object] = lambda: None
) -> tuple[list[Entry], int, int]:
    """Some entries, each as likely as any other; how many there are, and their bytes. They are gone through once."""
    drawn: list[Entry] = []
    count = size = 0
    chance = random.Random(seed)
    for entry in entries:
        tick()
        count += 1
        size += entry.size or 0
        if len(drawn) < most:
            drawn.append(entry)
        elif (place := chance.randrange(count)) < most:
            drawn[place] = entry
    return drawn, count, size


def measured(drawn: Sequence[Entry], images: int, size: int, examiner: Examiner) -> Estimate:
    """The estimate of `images` by those that were drawn. The first is done once before, for what happens only once.

    Raises `SteerAnomalyError` without any.
    """
    if not drawn:
        raise SteerAnomalyError("expected images, found none")
    examiner.row(drawn[0])
    reading = statistics.mean(_reading(entry) for entry in drawn)
    began = time.perf_counter()
    rows = list(examiner.rows(drawn))
    seconds = (time.perf_counter() - began) / len(rows)
    failed = sum(row["verdict"] in FAILURES for row in rows)
    return Estimate(images, size, len(rows), failed, seconds, reading)


def _reading(entry: Entry) -> float:
    began = time.perf_counter()
    with suppress(SteerAnomalyError):
        read_picture(entry)
    return time.perf_counter() - began
