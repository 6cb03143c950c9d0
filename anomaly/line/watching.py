"""Watches a folder: what arrives is judged in order, until somebody says stop. Knows no options and prints nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from anomaly.line.arrivals import Arrivals, Events
from anomaly.line.station import Station
from anomaly.runs.rows import ImageRow

LOOK_AGAIN = 60.0  # s between looks at the whole folder where events are listened to: some never come


def watch_folder(
    arrivals: Arrivals,
    station: Station,
    stop: threading.Event,
    told: Callable[[ImageRow], object],
    *,
    once: bool = False,
    poll: float | None = None,
    idle: Callable[[], object] = lambda: None,
) -> None:
    """Judge what is in the folder and what comes, until `stop` is set; with `once` what is there.

    `told` gets each row when it is safe. `poll` looks every so many seconds in place of listening to the operating
    system, which hears nothing of what other machines write to a share. `idle` is called between pictures.
    """
    with _events(arrivals, listen=poll is None and not once) as events:
        looked = -float("inf")
        while not stop.is_set():
            deaf = events is None or not events.alive
            every = (poll or 1.0) if deaf else LOOK_AGAIN
            if time.monotonic() - looked >= every:
                arrivals.look()
                looked = time.monotonic()
            ready = arrivals.ready()
            for arrival, row in station.judge(ready) if ready else ():
                if row is None:
                    arrivals.again(arrival)
                else:
                    told(row)
                if stop.is_set():
                    return
            idle()
            if once and not arrivals.waiting:
                return
            _wait(arrivals, events, stop)


def _wait(arrivals: Arrivals, events: Events | None, stop: threading.Event) -> None:
    """Until something changed, or a file may have come to stand still."""
    seconds = arrivals.settle / 5 if arrivals.waiting else 0.2
    if events is None or not events.alive:
        stop.wait(seconds)
        return
    for path in events.wait(seconds):
        arrivals.look(path)


@contextmanager
def _events(arrivals: Arrivals, listen: bool) -> Iterator[Events | None]:
    if not listen:
        yield None
        return
    events = Events(arrivals.root)
    try:
        yield events
    finally:
        events.close()


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one interrupts what goes on."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {}
    with suppress(ValueError):  # only the main thread may
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
