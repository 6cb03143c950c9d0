"""Inside the processes of a `WorkerPool`: the nursery, which loads and forks, and the workers. Knows no driver's state.

All that a process and the driver say to each other goes over the process's own line, as (`Kind`, content).
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from anomaly.errors import SteerAnomalyError

GRACE = 5.0  # seconds workers have to go, until they are made to

Make = Callable[[], Any]
Tell = Callable[[Any], None]
Do = Callable[[Any, Any, Tell], Any]


class Kind(Enum):
    """What is heard of a process. `DIED` is seen, not said."""

    BORN = "born"
    READY = "ready"
    SIGN = "sign"
    DONE = "done"
    FAILED = "failed"
    DIED = "died"


def nurse(line: Connection, make: Make, do: Do) -> None:
    """The nursery: load once, then fork a worker for each line that is handed in; end with the driver."""
    from multiprocessing.reduction import recv_handle

    _uninterrupted()
    with _ending_with(line):
        made = _loaded(line, make)
    gc.collect()
    gc.freeze()  # what is collected in a worker is copied there
    children: set[int] = set()
    with suppress(EOFError, OSError, RuntimeError):  # however the driver has gone
        line.send((Kind.READY, None))
        while True:
            handle = recv_handle(line)
            _reap(children)
            child = os.fork()
            if child == 0:
                line.close()
                work(Connection(handle), lambda: made, do)
            os.close(handle)
            children.add(child)
    _end_all(children)
    os._exit(0)


def _reap(children: set[int]) -> None:
    for child in list(children):
        if os.waitpid(child, os.WNOHANG)[0]:
            children.discard(child)


def _end_all(children: set[int]) -> None:
    """Workers go by themselves when their line is closed; who cannot is made to."""
    end = time.monotonic() + GRACE
    while children and time.monotonic() < end:
        time.sleep(0.01)
        _reap(children)
    for child in children:  # not yet waited for, so the number is still theirs
        os.kill(child, signal.SIGKILL)


def work(line: Connection, make: Make, do: Do) -> None:
    """A worker, to its end."""
    try:
        _uninterrupted()
        line.send((Kind.BORN, os.getpid()))
        tasks: SimpleQueue[Any] = SimpleQueue()
        Thread(target=_listen, args=(line, tasks), daemon=True).start()
        made = _loaded(line, make)
        line.send((Kind.READY, None))
        while True:
            task = tasks.get()
            try:
                result = do(made, task, lambda sign: line.send((Kind.SIGN, sign)))
            except Exception as error:
                line.send((Kind.FAILED, _portable(error)))
            else:
                line.send((Kind.DONE, result))
    finally:
        os._exit(1)  # and never back into what was forked


def _uninterrupted() -> None:
    """The driver tells when to stop; it has kept interrupts back until here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _listen(line: Connection, tasks: SimpleQueue[Any]) -> None:
    """Tasks as they come. When the line is closed nobody waits any more: the process ends, whatever it is doing."""
    try:
        while True:
            tasks.put(line.recv())
    except (EOFError, OSError):
        os._exit(0)


@contextmanager
def _ending_with(line: Connection) -> Iterator[None]:
    """While the nursery loads nothing is said to it: what can be read is the end. No thread is left afterwards."""
    over = Event()

    def watch() -> None:
        while not over.is_set():
            if line.poll(0.1):
                os._exit(0)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _loaded(line: Connection, make: Make) -> Any:
    try:
        return make()
    except Exception as error:
        with suppress(OSError):
            line.send((Kind.FAILED, _portable(error)))
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error as another process can have it, with where it came from."""
    error.add_note(f"in a worker:\n{traceback.format_exc()[-2000:]}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class is not made for this
        return SteerAnomalyError(str(error))
    return error
