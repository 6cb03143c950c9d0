"""One model for all who ask: pictures wait in a queue of limited length, and several are judged at a time.

On a CPU side by side, each by a thread with its share of the cores: batches save nothing there, and most steps are
too short to be shared. Elsewhere several are observed together and concluded apart, while the next ones are observed.
Knows neither requests nor files.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from anomaly import threads
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection

MOST_WORKERS = 8  # pictures that are judged side by side on a CPU
TOGETHER = 8  # pictures that are observed at a time elsewhere
WAIT = 0.004  # s that a picture waits for others that are on their way
CONCLUDING = 2  # threads
PATIENCE = 5.0  # s that something that can wait waits behind pictures, at most


class Judging(Protocol):
    """What is needed of `anomaly.inspector.Inspector`; `references` are empty where pictures are judged alone.

    Any threads may ask one inspector at the same time.
    """

    references: Any
    device: str

    def observe(self, images: Sequence[np.ndarray], object: str) -> list[Any]:
        """What the model says of each image."""

    def compare(self, object: str) -> Any:
        """What pictures are compared with."""

    def conclude(self, observation: Any, comparison: Any = None) -> Inspection | NotJudged:
        """The verdict."""


class Full(Exception):
    """The queue is full: come again in `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; come again in {seconds} s")
        self.seconds = seconds


class Stopped(Exception):
    """No more pictures are taken."""


@dataclass
class _Waiting:
    inspector: Judging
    object: str
    image: np.ndarray
    done: Future[Inspection | NotJudged] = field(default_factory=Future)


class Batcher:
    """Has pictures judged, in the order in which they came. Any threads may submit."""

    def __init__(self, longest: int, pixels: int, cores: int = 1) -> None:
        """At most `longest` pictures wait, and `pixels` in all of them but the first; `cores` compute."""
        self._longest, self._pixels, self._queue = longest, pixels, deque[_Waiting]()
        self._cores, self._most = cores, min(cores, MOST_WORKERS)
        self._changed = threading.Condition()
        self._arriving = self._working = self._impatient = 0
        self._stopped = False
        self._each = 0.1  # s, a running mean
        self._pool = ThreadPoolExecutor(CONCLUDING, "conclude")
        self._threads = [
            threading.Thread(target=self._work, name=f"inference {number}", daemon=True)
            for number in range(self._most)
        ]
        for one in self._threads:
            one.start()

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._queue)

    @property
    def seconds(self) -> int:
        """After how many seconds, 1 at least, the queue is likely to be empty."""
        return max(1, round(self._each * (len(self._queue) + self._working)))

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """While a picture is being read that will be submitted: whoever waits may wait for it."""
        with self._changed:
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1
                self._changed.notify_all()

    def check_room(self) -> None:
        """Raises `Full` or `Stopped` as `submit` would now: said before a picture is decoded for nothing."""
        if self._stopped:
            raise Stopped
        if len(self._queue) >= self._longest:
            raise Full(self.seconds)

    def submit(self, inspector: Judging, object: str, image: np.ndarray) -> Future[Inspection | NotJudged]:
        """Have RGB uint8 H x W x 3 judged. Raises `Full`, and `Stopped` once the service is ending."""
        one = _Waiting(inspector, object, image)
        with self._changed:
            if self._stopped:
                raise Stopped
            if len(self._queue) >= self._longest or self._held(image) > self._pixels:
                raise Full(self.seconds)
            self._queue.append(one)
            self._changed.notify_all()
        return one.done

    def _held(self, image: np.ndarray) -> int:
        """Pixels that would wait with this picture, 0 where it is the only one."""
        held = sum(one.image.shape[0] * one.image.shape[1] for one in self._queue)
        return held + image.shape[0] * image.shape[1] if self._queue else 0

    @contextmanager
    def between(self) -> Iterator[None]:
        """Use the model for something that can wait: after pictures that are queued, or after `PATIENCE`."""
        with self._changed:
            if not self._changed.wait_for(lambda: not (self._queue or self._working), timeout=PATIENCE):
                self._impatient += 1
                self._changed.wait_for(lambda: not self._working)
                self._impatient -= 1
            self._working += 1
        try:
            threads.here(self._cores)
            yield
        finally:
            self._let_go()

    def stop(self) -> None:
        """Finish what is queued and take no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for one in self._threads:
            one.join()
        self._pool.shutdown()

    def _work(self) -> None:
        while batch := self._next():
            began, beside = time.perf_counter(), _judged_beside(batch[0])
            threads.here(self._share() if beside else self._cores)
            observed = self._observed(batch)
            if beside:
                for one, found in observed:
                    _finish(one, found)
            self._let_go((time.perf_counter() - began) / len(batch))
            if not beside:
                for one, found in observed:
                    self._pool.submit(_finish, one, found)

    def _share(self) -> int:
        """Cores for one picture: all of them where it is the only one."""
        return max(1, self._cores // min(self._most, max(1, self._working + len(self._queue))))

    def _let_go(self, each: float | None = None) -> None:
        """The model is free again, after so many seconds for a picture."""
        with self._changed:
            if each is not None:
                self._each += 0.2 * (each / self._working - self._each)
            self._working -= 1
            self._changed.notify_all()

    def _next(self) -> list[_Waiting]:
        """The next pictures of one inspector and part; none once all is done after `stop`."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._may_take() or (self._stopped and not self._queue))
                self._wait_for_others()
                batch: list[_Waiting] = []
                while self._queue and self._may_take() and _fits(self._queue[0], batch):
                    one = self._queue.popleft()
                    if one.done.set_running_or_notify_cancel():
                        batch.append(one)
                if batch:
                    self._working += 1
                    return batch
                if self._stopped and not self._queue:
                    return []

    def _may_take(self) -> bool:
        """Whether the picture whose turn it is can be judged now: what is no CPU is used by one at a time."""
        if not self._queue or self._impatient:
            return False
        return not self._working or _judged_beside(self._queue[0])

    def _wait_for_others(self) -> None:
        until = time.monotonic() + WAIT
        while (
            self._arriving
            and 0 < len(self._queue) < TOGETHER
            and not _judged_beside(self._queue[0])
            and time.monotonic() < until
        ):
            self._changed.wait(max(0.0, until - time.monotonic()))

    @staticmethod
    def _observed(batch: Sequence[_Waiting]) -> list[tuple[_Waiting, Callable[[], Inspection | NotJudged]]]:
        """Of each picture how it is concluded. Where observing all fails each is tried alone, to spare the others."""
        inspector, part = batch[0].inspector, batch[0].object
        try:
            comparison = inspector.compare(part) if inspector.references else None
            found = inspector.observe([one.image for one in batch], part)
        except Exception as error:
            if len(batch) > 1:
                return [pair for one in batch for pair in Batcher._observed([one])]
            return [(batch[0], _raising(error))]
        return [
            (one, _concluding(inspector, seen, comparison)) for one, seen in zip(batch, found, strict=True)
        ]


def _judged_beside(one: _Waiting) -> bool:
    return one.inspector.device.endswith("cpu")


def _fits(one: _Waiting, batch: Sequence[_Waiting]) -> bool:
    """Whether it can be observed together with those in `batch`."""
    if not batch:
        return True
    alike = one.inspector is batch[0].inspector and one.object == batch[0].object
    return alike and len(batch) < TOGETHER and not _judged_beside(one)


def _concluding(inspector: Judging, seen: Any, comparison: Any) -> Callable[[], Inspection | NotJudged]:
    return lambda: inspector.conclude(seen, comparison)


def _raising(error: Exception) -> Callable[[], Inspection | NotJudged]:
    def conclude() -> Inspection | NotJudged:
        raise SteerAnomalyError(f"the model could not take this picture ({type(error).__name__})") from error

    return conclude


def _finish(one: _Waiting, conclude: Callable[[], Inspection | NotJudged]) -> None:
    try:
        one.done.set_result(conclude())
    except BaseException as error:  # whoever waits has to be told, whatever it is
        one.done.set_exception(error)
