"""What the processes of tests/test_worker_pool.py do; light, so that they are started in no time."""

import os
import signal
import time
from pathlib import Path


def made():
    """Which process called this."""
    return os.getpid()


def square(made_by, task, sign):
    """The square; who made what is shared, and who did it."""
    sign(task)
    return task * task, made_by, os.getpid(), threads_of(os.getppid())


def threads_of(pid):
    """The names of a process's threads; those that only give memory back know how to be forked."""
    names = [(one / "comm").read_text().strip() for one in Path(f"/proc/{pid}/task").iterdir()]
    return [name for name in names if name != "jemalloc_bg_thd"]


def nano():
    """An examiner with the model of every day."""
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    return examiner_of(Inspector, "part")


def inspected(examiner, path, sign):
    """What becomes of a picture; threads of the nursery."""
    from anomaly.archive.entries import entries_of

    (entry,) = entries_of([path])
    return examiner.row(entry)["verdict"], threads_of(os.getppid())


def slow(made_by, task, sign):
    """Begins, and takes its time."""
    sign(os.getpid())
    time.sleep(task)


def deadly(made_by, task, sign):
    """Ends its process at a 3, the first time."""
    path, number = task
    if number == 3 and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Broken(Exception):
    """An error that does not go through pickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def broken():
    """Raises what cannot be sent."""
    raise Broken("no", "model")


def dead():
    """Never begins."""
    os.kill(os.getpid(), signal.SIGKILL)


def long():
    """As a large model from a slow disk."""
    time.sleep(1000)


class StuckOnce:
    """Stands still the first time, and then no more."""

    def __init__(self, flag):
        self.flag = flag

    def __call__(self):
        if not Path(self.flag).exists():
            Path(self.flag).touch()
            time.sleep(1000)
