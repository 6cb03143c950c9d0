"""The local engine: processes on the cores of one machine, each a shard at a time; they share the model's memory.

The model is loaded once, before the processes are forked (elsewhere than on Linux each loads its own). What was
committed stays, whatever dies: workers that are killed are replaced, and a picture that kills them becomes an error.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly.archive.examining import Examiner, Row, one_thread
from anomaly.archive.manifest import Manifest, Shard, chapter_name, read_shard
from anomaly.archive.places import Place, told
from anomaly.archive.table import close, closed, commit, committed, errors_in
from anomaly.errors import SteerAnomalyError
from anomaly.runs.loop import Failure
from anomaly.runs.rows import FAILURES

AHEAD = 2  # shards handed out for each worker
SUSPECTED = 3  # times that workers died at one picture, until it is held to be why
DEATHS = 20  # times that workers died with nothing finished in between: something else is wrong
KILLED = Failure("the process that inspected it was ended each time, by the system or by a decoder")


class TooManyErrors(SteerAnomalyError):
    """More images have no result than was allowed; what is done stays."""


class Stopped(Exception):
    """Inside a worker: the run is over before the shard is."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: images `done` (failed ones too), `failed`, of `images`."""

    done: int
    failed: int
    images: int


Tell = Callable[[Progress], object]


def too_many(failed: int, most: float | None) -> None:
    """Raise `TooManyErrors` for more than `most` images without a result; None allows any number."""
    if most is not None and failed > most:
        raise over_the_limit(failed)


def over_the_limit(failed: int) -> TooManyErrors:
    """The error for too many images without a result."""
    return TooManyErrors(
        f"{failed} images have no result, more than --max-errors allows; what is done stays. Look at the errors "
        "table, mend what is wrong, and run the same command again to go on"
    )


def run(
    place: Place,
    manifest: Manifest,
    make: Callable[[], Examiner],
    workers: int,
    most_errors: float | None = None,
    tell: Tell = lambda progress: None,
    forked: bool = sys.platform == "linux",
) -> Counter[str]:
    """Have every image of the manifest examined that has no row yet; the verdicts of all, counted.

    `make` loads the model. `most_errors`: how many images may be without a result before the run is stopped.
    Raises `TooManyErrors`, `OutputError` when the table cannot be written, `ArchiveError` when it is not sound.
    """
    counts: Counter[str] = Counter()
    known = closed(place)
    with tempfile.TemporaryDirectory() as markers:
        engine = _Engine(place, manifest, make, workers, most_errors, tell, forked, Path(markers))
        for chapter, rows in enumerate(manifest.chapters):
            if chapter in known:
                engine.done += rows
                engine.failed += sum(known[chapter].get(one, 0) for one in FAILURES)
                counts.update(known[chapter])
                continue
            engine.work_on(chapter)
            with told(place, "the table"):
                counts.update(close(place, chapter))
    return counts


@dataclass
class _Engine:
    """One run. `done` and `failed` count images of shards that were committed before the present pool."""

    place: Place
    manifest: Manifest
    make: Callable[[], Examiner]
    workers: int
    most_errors: float | None
    tell: Tell
    forked: bool
    markers: Path
    done: int = 0
    failed: int = 0

    def __post_init__(self) -> None:
        self._examiner: Examiner | None = None
        self._careful: set[Shard] = set()
        self._deaths_at: Counter[tuple[Shard, int]] = Counter()
        self._deaths = 0

    def work_on(self, chapter: int) -> None:
        """Commit every shard of the chapter."""
        before = self.done, self.failed
        for kind in ("images", "errors"):
            self.place.drop_leftovers(f"{kind}/{chapter_name(chapter)}")
        while todo := self._begin(chapter, *before):
            running: dict[Future[int], Shard] = {}
            try:
                self._feed(todo, running)
            except BrokenProcessPool:
                self._bury(set(running.values()))
        self._begin(chapter, *before)

    def _begin(self, chapter: int, done: int, failed: int) -> deque[Shard]:
        """The shards that are not committed; sets the counts by those that are."""
        there = committed(self.place, chapter)
        shards = self.manifest.shards(chapter)
        self.done = done + sum(len(shard) for shard in shards if shard.name in there)
        self.failed = failed + (errors_in(self.place, chapter) if there else 0)
        return deque(shard for shard in shards if shard.name not in there)

    def _feed(self, todo: deque[Shard], running: dict[Future[int], Shard]) -> None:
        with self._pool() as (pool, counted):
            while todo or running:
                while todo and len(running) < AHEAD * self.workers:
                    shard = todo.popleft()
                    running[pool.submit(_do, shard, shard in self._careful, self._deadly(shard))] = shard
                ready, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ready:
                    future.result()
                    del running[future]
                    self._deaths = 0
                self._tell(counted)

    def _tell(self, counted: Any) -> None:
        done, failed = self.done + counted[0], self.failed + counted[1]
        self.tell(Progress(done, failed, self.manifest.images))
        too_many(failed, self.most_errors)

    def _deadly(self, shard: Shard) -> frozenset[int]:
        return frozenset(
            i for (of, i), times in self._deaths_at.items() if of == shard and times >= SUSPECTED
        )

    def _bury(self, running: set[Shard]) -> None:
        """After a worker died (its fellows were ended with it): their shards are gone through one picture at a time."""
        self._careful |= running
        self._deaths += 1
        for shard in running:
            marker = self.markers / f"{shard.chapter}-{shard.number}"
            if marker.exists():
                self._deaths_at[shard, int(marker.read_text() or 0)] += 1
                marker.unlink()
        if self._deaths > DEATHS:
            raise SteerAnomalyError(
                f"workers died {DEATHS} times without finishing anything; what is done stays. Is there memory for "
                f"{self.workers} of them? Try fewer --workers"
            )

    @contextmanager
    def _pool(self) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
        """Workers, and how many images they have done and how many of them failed, (2,); they stop when it ends."""
        context = multiprocessing.get_context("fork" if self.forked else "spawn")
        if self.forked and self._examiner is None:
            self._examiner = self.make()  # once, and before there are processes to share it
        counted, stop = context.Array("q", 2), context.Value("b", 0)
        told = (self._examiner, self.make, self.place, self.markers, os.getpid(), counted, stop)
        pool = ProcessPoolExecutor(self.workers, context, _start, told)
        try:
            yield pool, counted
        finally:
            stop.value = 1
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Worker:
    examiner: Examiner
    place: Place
    markers: Path
    counted: Any
    stop: Any


_here: list[_Worker] = []  # in a worker: itself


def _start(
    examiner: Examiner | None,
    make: Callable[[], Examiner],
    place: Place,
    markers: Path,
    parent: int,
    counted: Any,
    stop: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver tells when to stop
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    one_thread()
    _here[:] = [_Worker(examiner or make(), place, markers, counted, stop)]


def _end_with(parent: int) -> None:
    """A driver that is killed cannot tell its workers."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(shard: Shard, careful: bool, deadly: frozenset[int]) -> int:
    """Make the rows of a shard and commit them; how many. `deadly` are places in it that no worker survived."""
    (worker,) = _here
    with told(worker.place, "the table"):
        entries = read_shard(worker.place, shard)
        made = _carefully(worker, shard, entries, deadly) if careful else worker.examiner.rows(entries)
        rows = []
        for row in made:
            if worker.stop.value:
                raise Stopped
            rows.append(row)
            with worker.counted.get_lock():
                worker.counted[0] += 1
                worker.counted[1] += row["verdict"] in FAILURES
        commit(worker.place, shard, rows)
    return len(rows)


def _carefully(worker: _Worker, shard: Shard, entries: list[Any], deadly: frozenset[int]) -> Iterator[Row]:
    marker = worker.markers / f"{shard.chapter}-{shard.number}"
    for i, entry in enumerate(entries):
        if i in deadly:
            yield worker.examiner.failure(entry, KILLED)
            continue
        marker.write_text(str(i))
        yield worker.examiner.row(entry)
    marker.unlink(missing_ok=True)
