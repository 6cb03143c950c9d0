"""The local engine: processes on the cores of one machine, each a shard at a time; they share the model's memory.

What was committed stays, whatever dies: workers that are killed or stand still are replaced, and a picture at which
that happens again and again becomes an error. How processes are started and watched: `worker_pool`.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from anomaly.archive.entry import Entry
from anomaly.archive.examining import Examiner, Row, one_thread
from anomaly.archive.manifest import Manifest, Shard, chapter_name, read_shard
from anomaly.archive.places import Place, told
from anomaly.archive.table import close, closed, commit, committed, errors_in
from anomaly.archive.worker_pool import Event, Kind, Worker, WorkerPool
from anomaly.errors import SteerAnomalyError
from anomaly.runs.loop import Failure
from anomaly.runs.rows import FAILURES

SUSPECTED = 3  # times that workers died at one picture, until it is held to be why
DEATHS = 20  # times that workers died with nothing finished in between: something else is wrong
KILLED = Failure(
    "the process that inspected it was ended each time, by the system, by a decoder, or because it stood still"
)


class TooManyErrors(SteerAnomalyError):
    """More images have no result than was allowed; what is done stays."""


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
    say: Callable[[str], object] = lambda text: None,
) -> Counter[str]:
    """Have every image of the manifest examined that has no row yet; the verdicts of all, counted.

    `make` loads the model, in another process, and goes there through pickle. `most_errors`: how many images may be
    without a result before the run is stopped. `say` is told of processes that had to be replaced. Raises
    `TooManyErrors`, `OutputError` when the table cannot be written, `ArchiveError` when it is not sound.
    """
    counts: Counter[str] = Counter()
    known = closed(place)
    count = min(workers, max(len(manifest.shards(chapter)) for chapter in range(len(manifest.chapters))))
    with WorkerPool(make, partial(_do, place), count, forked, say) as pool:
        engine = _Engine(pool, place, manifest, most_errors, tell)
        for chapter, rows in enumerate(manifest.chapters):
            if chapter in known:
                engine.done += rows
                engine.failed += sum(known[chapter].get(one, 0) for one in FAILURES)
                counts.update(known[chapter])
                engine.say_so()
                continue
            engine.work_on(chapter)
            with told(place, "the table"):
                counts.update(close(place, chapter))
    return counts


@dataclass(frozen=True)
class _Task:
    """A shard to be done. `careful`: one picture at a time; `deadly` are places in it that no worker survived."""

    shard: Shard
    careful: bool
    deadly: frozenset[int]


@dataclass
class _Course:
    """How far a worker is with its shard: images done, failed among them, and where a careful one is."""

    done: int = 0
    failed: int = 0
    at: int | None = None


@dataclass
class _Engine:
    """One run. `done` and `failed` count images of shards that are committed."""

    pool: WorkerPool
    place: Place
    manifest: Manifest
    most_errors: float | None
    tell: Tell
    done: int = 0
    failed: int = 0
    _courses: dict[Worker, _Course] = field(default_factory=dict)
    _careful: set[Shard] = field(default_factory=set)
    _deaths_at: Counter[tuple[Shard, int]] = field(default_factory=Counter)
    _deaths: int = 0

    def work_on(self, chapter: int) -> None:
        """Commit every shard of the chapter."""
        todo = self._begin(chapter)
        while todo or self.pool.busy:
            for worker in self.pool.idle:
                if todo:
                    self._give(worker, todo.popleft())
            for event in self.pool.events(0.5):
                self._take(event, todo)
            self.say_so()
        self.say_so()

    def _begin(self, chapter: int) -> deque[Shard]:
        """The shards that are not committed; counts those that are."""
        for kind in ("images", "errors"):
            self.place.drop_leftovers(f"{kind}/{chapter_name(chapter)}")
        with told(self.place, "the table"):
            there = committed(self.place, chapter)
            self.failed += errors_in(self.place, chapter, there)
        shards = self.manifest.shards(chapter)
        self.done += sum(len(shard) for shard in shards if shard.name in there)
        return deque(shard for shard in shards if shard.name not in there)

    def _give(self, worker: Worker, shard: Shard) -> None:
        deadly = {i for (of, i), times in self._deaths_at.items() if of == shard and times >= SUSPECTED}
        self._courses[worker] = _Course()
        self.pool.give(worker, _Task(shard, shard in self._careful, frozenset(deadly)))

    def _take(self, event: Event, todo: deque[Shard]) -> None:
        if event.kind is Kind.SIGN:
            course, (what, value) = self._courses[event.worker], event.content
            if what == "at":
                course.at = value
            else:
                course.done, course.failed = course.done + 1, course.failed + value
            return
        course = self._courses.pop(event.worker, _Course())
        if event.kind is Kind.DONE:
            rows, failed = event.content
            self.done, self.failed, self._deaths = self.done + rows, self.failed + failed, 0
        elif event.content is not None:
            self._bury(event.content.shard, course)
            todo.appendleft(event.content.shard)

    def _bury(self, shard: Shard, course: _Course) -> None:
        """After a worker died, its shard is gone through one picture at a time."""
        self._careful.add(shard)
        self._deaths += 1
        if course.at is not None:
            self._deaths_at[shard, course.at] += 1
            if self._deaths_at[shard, course.at] == SUSPECTED:
                self._deaths = 0  # that much is known now
        if self._deaths > DEATHS:
            raise SteerAnomalyError(
                f"workers died {DEATHS} times without finishing anything; what is done stays. Is there memory for "
                "all of them? Try fewer --workers"
            )

    def say_so(self) -> None:
        """Tell of progress. Raises `TooManyErrors`."""
        courses = self._courses.values()
        done, failed = (
            self.done + sum(one.done for one in courses),
            self.failed + sum(one.failed for one in courses),
        )
        self.tell(Progress(done, failed, self.manifest.images))
        too_many(failed, self.most_errors)


def _do(
    place: Place, examiner: Examiner, task: _Task, sign: Callable[[tuple[str, int]], None]
) -> tuple[int, int]:
    """In a worker: make the rows of a shard and commit them; how many, and how many of them are errors."""
    one_thread()
    with told(place, "the table"):
        entries = read_shard(place, task.shard)
        made = _carefully(examiner, entries, task.deadly, sign) if task.careful else examiner.rows(entries)
        rows = []
        for row in made:
            rows.append(row)
            sign(("did", row["verdict"] in FAILURES))
        commit(place, task.shard, rows)
    return len(rows), sum(row["verdict"] in FAILURES for row in rows)


def _carefully(
    examiner: Examiner,
    entries: list[Entry],
    deadly: frozenset[int],
    sign: Callable[[tuple[str, int]], None],
) -> Iterator[Row]:
    for i, entry in enumerate(entries):
        if i in deadly:
            yield examiner.failure(entry, KILLED)
            continue
        sign(("at", i))
        yield examiner.row(entry)
