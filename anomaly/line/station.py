"""Judges pictures as they come: each gets one line in the journal, a message to the sinks, and its place.

Knows neither where pictures come from nor how they are announced. The order of steps makes kill -9 harmless: the
message is safe in the outbox before the journal says that a picture is done, and a picture is moved after that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection
from anomaly.line.arrivals import Arrival
from anomaly.line.darkness import BLACK, is_black
from anomaly.line.messages import id_of, verdict_of
from anomaly.line.sorting import Sorter
from anomaly.pictures.images import read_image
from anomaly.pictures.inputs import relative_name
from anomaly.report.page import write_report
from anomaly.runs import drift_log
from anomaly.runs.drift_log import Followed
from anomaly.runs.folder import ResultFolder
from anomaly.runs.inspecting import BatchInspector
from anomaly.runs.loop import Failure, inference_workers, inspect_all
from anomaly.runs.rows import ImageRow, to_csv
from anomaly.runs.saving import explained, save
from anomaly.runs.stamps import Stamp, stamp_of


class Sink(Protocol):
    """What a station needs of `anomaly.line.outbox.Sinks`."""

    def send(self, verdict: dict[str, Any]) -> None:
        """Take a message; it is safe when this returns."""


@dataclass(frozen=True)
class _Photo:
    arrival: Arrival
    image: np.ndarray


class Station:
    """Judges parts called `part` into `folder`; names of results start at `root`.

    A picture that cannot be read, or changes while it is read, is asked for again for `patience` seconds before it is
    `unreadable`: a slow writer may have paused. `warn` is told, in a sentence, what a person should look at.
    """

    def __init__(
        self,
        folder: ResultFolder,
        inspector: BatchInspector,
        part: str,
        root: Path,
        *,
        source: str = "watch",
        profile: str | None = None,
        batch_size: int = 8,
        patience: float = 5.0,
        sorter: Sorter | None = None,
        sinks: Sink | None = None,
        followed: Followed | None = None,
        warn: Callable[[str], object] = print,
    ) -> None:
        self.folder, self.part, self.root = folder, part, root
        self.followed = followed
        self._inspector, self._batch_size, self._patience = inspector, batch_size, patience
        self._source, self._profile, self._warn = source, profile, warn
        self._sorter, self._sinks = sorter, sinks
        self._settings = inspector.describe()
        self._last: dict[
            str, tuple[Stamp, str]
        ] = {}  # of each file as it arrived: its stamp, and where it went
        for row in folder.rows.values():
            self._remember(row)
            if followed is not None:
                followed.take(row)

    def has(self, path: Path, stamp: Stamp) -> bool:
        """Whether a file is done as it is now. A move that was cut short is made up for."""
        done = self._last.get(os.fspath(path))
        if done is None or done[0] != stamp:
            return False
        if self._sorter is not None and done[1] != os.fspath(path):
            self._move(path, Path(done[1]))
        return True

    def judge(self, arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, ImageRow | None]]:
        """Judge pictures in their order; yields each with its row, or None when it has to be tried again later.

        What was yielded is safe. Raises `OutputError` when the folder cannot be written to.
        """
        with self._workers(len(arrivals)) as workers:
            for arrival, row in inspect_all(
                arrivals,
                _read,
                self._inspected,
                self._write,
                batch_size=self._batch_size,
                workers=workers,
            ):
                if not isinstance(row, Failure):
                    yield arrival, self._done(arrival, row)
                elif row.unreadable and self._may_be_unfinished(arrival):
                    yield arrival, None
                else:
                    yield arrival, self._done(arrival, self._failed(arrival, row))

    def miss(self, path: Path, reason: str) -> ImageRow:
        """Note that a part could not be judged, whose picture would have been at `path`: it is `failed`, never ok."""
        arrival = Arrival(path, (None, None), 0.0)
        return self._done(arrival, self._failed(arrival, Failure(reason)))

    def keep_drift(self) -> None:
        """Keep what became of the line, in the folder and its report. Raises `OutputError`."""
        if self.followed is not None:
            found = self.followed.found()
            drift_log.write(self.folder.path, found)
            self.folder.run["drift"] = drift_log.brief(found)

    def keep_report(self) -> None:
        """Write drift, table and report of what is done so far, as the folder does at its end. Raises `OutputError`."""
        self.keep_drift()
        rows, counts = list(self.folder.rows.values()), self.folder.counts()
        self.folder.run |= {"counts": counts, "images": len(rows)}
        with explained("results.csv and report.html", self.folder.path, len(rows)):
            save(self.folder.path / "results.csv", to_csv(rows))
            write_report(self.folder.path, self.folder.run, rows)

    def _inspected(self, images: list[np.ndarray]) -> list[Inspection | NotJudged]:
        """What is found on each; what shows nothing is not ok, whatever it scores."""
        found = self._inspector.inspect_batch(images, self.part)
        return [
            NotJudged(BLACK) if not isinstance(one, NotJudged) and one.verdict == "ok" and is_black(image) else one
            for one, image in zip(found, images, strict=True)
        ]  # fmt: skip

    def _workers(self, images: int) -> AbstractContextManager[int]:
        device = str(self._settings.get("device"))
        # One picture has all cores; several have one core each, see `inference_workers`.
        return inference_workers(device) if images > 1 and device.startswith("cpu") else nullcontext(1)

    def _write(self, photo: _Photo, inspection: Inspection) -> Callable[[], ImageRow]:
        place = self._place(photo.arrival.path, inspection.verdict)
        finish = self.folder.begin(relative_name(place, [self.root]), place, photo.image, inspection)
        size, mtime_ns = photo.arrival.stamp
        file = os.fspath(photo.arrival.path)
        return lambda: replace(finish(), file=file, size=size, mtime_ns=mtime_ns)

    def _place(self, path: Path, verdict: str) -> Path:
        if self._sorter is None:
            return path
        return self._sorter.place(path, verdict, lambda place: self.folder.row_of(place) is not None)

    def _may_be_unfinished(self, arrival: Arrival) -> bool:
        return stamp_of(arrival.path) not in (arrival.stamp, (None, None)) or (
            time.monotonic() - arrival.since < self._patience and arrival.path.exists()
        )

    def _failed(self, arrival: Arrival, failure: Failure) -> ImageRow:
        verdict = "unreadable" if failure.unreadable else "failed"
        there = arrival.path.exists()
        place = self._place(arrival.path, verdict) if there else arrival.path
        # One that is gone, perhaps with its whole share, is judged when it comes back: it was nothing that was judged.
        size, mtime_ns = arrival.stamp if there else (None, None)
        return ImageRow(
            file=os.fspath(arrival.path),
            name=self.folder.name_of(relative_name(place, [self.root]), place),
            path=os.fspath(place),
            size=size,
            mtime_ns=mtime_ns,
            object=self.part,
            verdict=verdict,
            error=failure.reason,
        )

    def _done(self, arrival: Arrival, row: ImageRow) -> ImageRow:
        drift = self._follow(row)
        if self._sinks is not None:
            run = str(self._settings.get("profile") or self._settings.get("settings_hash"))
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._sinks.send(verdict_of(row, id_of(run, row), now, self._source, self._profile, drift))
        self.folder.add(row)
        self._remember(row)
        if row.path != row.file and arrival.path.exists():
            self._move(arrival.path, Path(row.path))
        return row

    def _follow(self, row: ImageRow) -> dict[str, Any] | None:
        if self.followed is None:
            return None
        if self.followed.take(row):
            self._warn(f"the line has drifted since {row.file}. {self.followed.drift.sentence()}")
            self.keep_drift()
        return {"alarm": self.followed.drift.alarm, "capital": self.followed.drift.capital}

    def _remember(self, row: ImageRow) -> None:
        self._last[row.file] = (row.size, row.mtime_ns), row.path

    def _move(self, path: Path, place: Path) -> None:
        assert self._sorter is not None
        try:
            self._sorter.move(path, place)
        except OSError as error:
            self._warn(
                f"{path} is judged but stays where it is: cannot move it to {place} ({error.strerror})"
            )


def _read(arrival: Arrival) -> _Photo:
    image = read_image(arrival.path)
    if stamp_of(arrival.path) != arrival.stamp:
        raise SteerAnomalyError("it changed while it was read")
    return _Photo(arrival, image)
