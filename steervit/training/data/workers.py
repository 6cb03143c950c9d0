"""Runs a task for each of many items in several processes of this machine, with a bar. Knows nothing of tasks."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

LOG_EVERY = 30.0  # seconds between lines of the bar in a file


def run_all(task: Callable[[Any], Any], items: Sequence[Any], processes: int, title: str) -> None:
    """Call `task` with every item, in any order; both must be picklable. Each process keeps to one thread.

    Raises what a task raises, and OSError when a process dies; what other tasks wrote stays.
    """
    pace = {} if sys.stderr.isatty() else {"mininterval": LOG_EVERY, "maxinterval": LOG_EVERY}
    with tqdm(total=len(items), desc=title, dynamic_ncols=True, disable=not items, **pace) as bar:
        if min(processes, len(items)) <= 1:
            for item in items:
                task(item)
                bar.update()
            return
        # A forked child of a process that has run torch on several threads can hang: start afresh.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(items)), context, _prepare) as pool:
            futures = [pool.submit(task, item) for item in items]
            try:
                for future in as_completed(futures):
                    future.result()
                    bar.update()
            except BrokenProcessPool as error:
                raise OSError(
                    f"{title}: a process ended before its work was done, perhaps for lack of memory; run the "
                    "same command again with fewer data.workers, what is finished is kept"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C what is begun is ended, and nothing new begun

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
