"""One model for all who ask: pictures wait in a queue of limited length and are observed several at a time.

Knows neither requests nor files. What is observed together is concluded apart, while the next ones are observed.
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

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection

TOGETHER = 8  # pictures that are observed at a time
WAIT = 0.004  # s that a picture waits for others that are on their way
CONCLUDING = 2  # threads
PATIENCE = 5.0  # s that something that can wait waits behind pictures, at most


class Judging(Protocol):
    """What is needed of `anomaly.inspector.Inspector`; `references` are empty where pictures are judged alone."""

    references: Any

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
    """Observes pictures of one inspector together, at most `TOGETHER` at a time. Any threads may submit."""

    def __init__(self, longest: int, pixels: int) -> None:
        """At most `longest` pictures wait, and `pixels` in all of them but the first."""
        self._longest, self._pixels, self._queue = longest, pixels, deque[_Waiting]()
        self._changed = threading.Condition()
        self._inference = threading.Lock()
        self._arriving = self._busy = 0
        self._stopped = False
        self._each = 0.1  # s, a running mean
        self._pool = ThreadPoolExecutor(CONCLUDING, "conclude")
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._queue)

    @property
    def seconds(self) -> int:
        """After how many seconds, 1 at least, the queue is likely to be empty."""
        return max(1, round(self._each * (len(self._queue) + self._busy)))

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
                self._changed.notify()

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
            self._changed.notify()
        return one.done

    def _held(self, image: np.ndarray) -> int:
        """Pixels that would wait with this picture, 0 where it is the only one."""
        held = sum(one.image.shape[0] * one.image.shape[1] for one in self._queue)
        return held + image.shape[0] * image.shape[1] if self._queue else 0

    @contextmanager
    def between(self) -> Iterator[None]:
        """Use the model for something that can wait: after pictures that are queued, and not beside them."""
        until = time.monotonic() + PATIENCE
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._queue or self._stopped, timeout=PATIENCE)
            with self._inference:
                if not self._queue or self._stopped or time.monotonic() > until:
                    yield
                    return

    def stop(self) -> None:
        """Finish what is queued and take no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self._pool.shutdown()

    def _work(self) -> None:
        while batch := self._next():
            began = time.perf_counter()
            with self._inference:
                observed = self._observed(batch)
            for one, found in observed:
                self._pool.submit(_finish, one, found)
            with self._changed:
                self._busy = 0
                self._each += 0.2 * ((time.perf_counter() - began) / len(batch) - self._each)
                self._changed.notify_all()

    def _next(self) -> list[_Waiting]:
        """The next pictures of one inspector and part; none once all is done after `stop`."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._stopped)
                self._wait_for_others()
                batch: list[_Waiting] = []
                while self._queue and len(batch) < TOGETHER and _alike(self._queue[0], batch):
                    one = self._queue.popleft()
                    if one.done.set_running_or_notify_cancel():
                        batch.append(one)
                self._busy = len(batch)
                if batch or (self._stopped and not self._queue):
                    return batch

    def _wait_for_others(self) -> None:
        until = time.monotonic() + WAIT
        while self._arriving and 0 < len(self._queue) < TOGETHER and time.monotonic() < until:
            self._changed.wait(until - time.monotonic())

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


def _alike(one: _Waiting, batch: Sequence[_Waiting]) -> bool:
    return not batch or (one.inspector is batch[0].inspector and one.object == batch[0].object)


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
