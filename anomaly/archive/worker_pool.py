"""Processes that do tasks for a driver, each on a line of its own: whatever dies, nobody waits for it.

No lock, queue or memory is shared. A line is a pair of sockets; when a worker dies, however it dies, the system closes
its end, and the driver sees that. What workers have in common, a model, is loaded once by a process that is started
afresh, the nursery. It does nothing but fork workers, so no thread of it holds a lock while it does, and the driver,
which may have threads, is never forked. Where there is no fork each worker loads its own. Knows no images.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from anomaly.archive.worker_process import GRACE, Do, Kind, Make, nurse, work
from anomaly.errors import SteerAnomalyError

LOADING = (
    600.0  # seconds until a model that is not there yet is held to be stuck; disks of a network are slow
)
STARTING = 60.0  # the same of a worker that has only to be forked
SILENT = 1800.0  # seconds until a worker that has a task and gives no sign is held to be stuck
STARTS = 5  # times in a row that nothing came of starting all of them
# Read by libraries as they are loaded: no threads of theirs where processes are forked.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(eq=False)
class Worker:
    """A worker as the driver sees it; `task` is None while it waits for one, `seen` when it last gave a sign."""

    line: Connection
    process: BaseProcess | None = None
    pid: int | None = None
    ready: bool = False
    task: Any = None
    seen: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Event:
    """What was heard: `content` is the sign, the result, or the task (None without one) that the dead worker had."""

    worker: Worker
    kind: Kind
    content: Any


class WorkerPool:
    """`count` workers, replaced when they die. A context; at its end they are gone, what they were doing undone.

    In a process `make()` is called once, then `do(made, task, tell)` for each task; `tell` gives a sign to the driver.
    All of these go through pickle. `forked`: `make` is called once for all. `say` is told in words of workers that had
    to be replaced because they did not start, or stood still.
    """

    def __init__(
        self,
        make: Make,
        do: Do,
        count: int,
        forked: bool = sys.platform == "linux",
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._make, self._do, self._count, self._forked, self._say = make, do, count, forked, say
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._nursery: Worker | None = None
        self._in_vain = 0

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        ending = [*self._workers, *([self._nursery] if self._nursery else [])]
        self._workers, self._nursery = [], None
        for one in ending:
            one.line.close()  # which ends whoever is at the other end
        for one in ending:
            _gone(one.process)

    @property
    def idle(self) -> list[Worker]:
        """The workers that wait for a task."""
        return [one for one in self._workers if one.ready and one.task is None]

    @property
    def busy(self) -> bool:
        """Whether a worker has a task."""
        return any(one.task is not None for one in self._workers)

    def give(self, worker: Worker, task: Any) -> None:
        """Hand a task to a worker that is idle."""
        worker.task, worker.seen = task, time.monotonic()
        with suppress(OSError):  # of one that has died meanwhile `events` tells
            worker.line.send(task)

    def events(self, seconds: float) -> Iterator[Event]:
        """What is heard within `seconds`, or at once where there is something. Starts the workers that are wanting.

        Raises what `make` or `do` raised, `SteerAnomalyError` where no worker can be started.
        """
        self._fill()
        lines = {one.line: one for one in self._workers}
        if self._nursery:
            lines[self._nursery.line] = self._nursery
        for line in wait(list(lines), seconds):
            event = self._heard(lines[line])  # type: ignore[index]  # lines are all that is waited for
            if event:
                yield event
        yield from self._overdue()

    def _fill(self) -> None:
        if self._forked and self._nursery is None:
            self._nursery = self._started(nurse)
        while len(self._workers) < self._count and (self._nursery is None or self._nursery.ready):
            self._workers.append(self._forth() if self._nursery else self._started(work))

    def _started(self, target: Callable[..., None]) -> Worker:
        mine, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(theirs, self._make, self._do), daemon=True)
        with _environment(ONE_THREAD), _interrupts_kept_back():
            process.start()
        theirs.close()
        return Worker(mine, process, process.pid)

    def _forth(self) -> Worker:
        """A worker out of the nursery; one that could not be asked for is one that dies at once."""
        from multiprocessing.reduction import send_handle

        assert self._nursery is not None
        mine, theirs = self._context.Pipe()
        with suppress(OSError):
            send_handle(self._nursery.line, theirs.fileno(), self._nursery.pid)
        theirs.close()
        return Worker(mine)

    def _heard(self, worker: Worker) -> Event | None:
        try:
            kind, content = worker.line.recv()
        except (EOFError, OSError):
            return self._lost(worker)
        worker.seen = time.monotonic()
        if kind is Kind.FAILED:
            raise content
        if kind is Kind.BORN:
            worker.pid = content
        elif kind is Kind.READY:
            worker.ready, self._in_vain = True, 0 if worker is not self._nursery else self._in_vain
        elif kind is Kind.DONE:
            worker.task = None
        return Event(worker, kind, content) if kind in (Kind.SIGN, Kind.DONE) else None

    def _lost(self, worker: Worker) -> Event | None:
        """After the death of a worker or the nursery. Raises `SteerAnomalyError` for too many that never began."""
        worker.line.close()
        if not worker.ready:
            self._in_vain += self._count if worker is self._nursery else 1
        if self._in_vain >= STARTS * self._count:
            raise SteerAnomalyError(
                f"processes ended or stood still before they began, {STARTS} times in a row; what is done stays. Is "
                f"there memory for {self._count} of them? Try fewer --workers"
            )
        if worker is self._nursery:
            self._nursery = None
            return None
        self._workers.remove(worker)
        return Event(worker, Kind.DIED, worker.task)

    def _overdue(self) -> Iterator[Event]:
        """Ends who stands still, and tells of it."""
        for one in [*self._workers, *([self._nursery] if self._nursery else [])]:
            limit = self._limit(one)
            if limit is None or time.monotonic() - one.seen < limit:
                continue
            state = "has not started" if one.task is None else "has not finished an image"
            self._say(f"a process {state} for {limit:.0f} s and is replaced")
            self._kill(one)
            if event := self._lost(one):
                yield event

    def _limit(self, one: Worker) -> float | None:
        if one.ready:
            return None if one.task is None else SILENT
        return STARTING if one.process is None else LOADING

    def _kill(self, one: Worker) -> None:
        if one.process is not None:
            one.process.kill()
        elif one.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        elif self._nursery:  # it was never born: whatever it is, the next is not to come from the same place
            self._kill(self._nursery)


def _gone(process: BaseProcess | None) -> None:
    if process is not None:
        process.join(2 * GRACE)
        if process.is_alive():
            process.kill()
            process.join(GRACE)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Some variables set while a process is started, for libraries that read them as they are loaded."""
    before = {name: os.environ.get(name) for name in more}
    os.environ |= more
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _interrupts_kept_back() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal; one that is just starting would only be noisy about it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
