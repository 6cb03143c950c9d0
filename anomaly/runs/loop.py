"""The image loop under every run: reading, inspecting and writing overlap; results come in order.

Knows no model, no folder and no metric; it is given functions. What could not be read or judged comes out as a
`Failure` in its place, so that no caller can take it for "ok".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection

READERS, WRITERS = 2, 2  # threads; decoding and encoding release Python's lock
MOST_WORKERS = 4
PIXELS = 32_000_000  # of images that wait between two steps; twelve bytes each with map and mask


class Loaded(Protocol):
    """What `read` returns: anything with the image to inspect, RGB uint8 H x W x 3."""

    @property
    def image(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Failure:
    """Why there is no result for an image; `unreadable` when it could not even be read."""

    reason: str
    unreadable: bool = False


Item = TypeVar("Item")
Row = TypeVar("Row")
L = TypeVar("L", bound=Loaded)
Found = TypeVar("Found")
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def run_all(
    items: Sequence[Item],
    read: Callable[[Item], L],
    work: Callable[[list[L]], Sequence[Found | NotJudged]],
    doubt: Callable[[L, Found], str | None],
    write: Callable[[L, Found], Callable[[], Row]],
    *,
    batch_size: int = 8,
    workers: int = 1,
) -> Iterator[tuple[Item, Row | Failure]]:
    """Read every item, work on it and write it; yields each with its row or `Failure`, in the order of `items`.

    `read` runs in threads of its own; a `SteerAnomalyError` from it is a `Failure`. `work` gets up to `batch_size`
    of what was read at a time, in `workers` threads; where `doubt` gives a reason, its result is a `Failure` too.
    `write` is called in order, in the caller's thread, and returns what is left to do; that is done in threads of
    its own and gives the row. At most `PIXELS` pixels of images wait between two steps (but always one image).
    Any other error ends the loop.
    """
    room = _Room()
    share = max(1, min(batch_size, -(-len(items) // workers)))
    with _pool(READERS) as readers, _pool(workers) as inspectors, _pool(WRITERS) as writers:
        loaded = _ahead(readers, partial(_read, read, room), items, lambda: room.at_most(share + READERS))
        batches = _batches(zip(items, loaded, strict=True), share, room)
        found = _ahead(inspectors, partial(_work, work, doubt), batches, lambda: room.at_most(workers + 1))
        yield from _ahead(writers, _done, _jobs(write, found), lambda: room.at_most(2 * WRITERS))


def inspect_all(
    items: Sequence[Item],
    read: Callable[[Item], L],
    inspect: Callable[[list[np.ndarray]], Sequence[Inspection | NotJudged]],
    write: Callable[[L, Inspection], Callable[[], Row]],
    *,
    batch_size: int = 8,
    workers: int = 1,
) -> Iterator[tuple[Item, Row | Failure]]:
    """`run_all` where the work is a whole inspection, which is believed as `why_not_judged` allows."""
    return run_all(
        items,
        read,
        lambda loaded: inspect([one.image for one in loaded]),
        lambda loaded, inspection: why_not_judged(loaded.image, inspection),
        write,
        batch_size=batch_size,
        workers=workers,
    )


@contextmanager
def inference_workers(device: str) -> Iterator[int]:
    """How many batches to inspect at the same time; inside, each of them computes with its part of the threads.

    On a CPU whole images in parallel keep its cores busier than one image shared among them: most of an
    inspection's steps are too short to be shared. Elsewhere one at a time.
    """
    if not device.startswith("cpu"):
        yield 1
        return
    import torch

    threads = torch.get_num_threads()
    workers = min(threads, MOST_WORKERS)
    torch.set_num_threads(max(1, threads // workers))
    try:
        yield workers
    finally:
        torch.set_num_threads(threads)


def why_not_judged(image: np.ndarray, inspection: Inspection) -> str | None:
    """What keeps an inspection of `image` (H x W x 3) from being believed; None when nothing does."""
    shape = inspection.heatmap.shape
    if shape != image.shape[:2]:
        return f"expected a map of the image's size {image.shape[:2]}, got {shape}; please report this"
    if np.isfinite(inspection.score) and np.isfinite(inspection.heatmap).all():
        return None
    return (
        "the model gave values that are not finite (NaN or infinite) for this image. Try precision fp32, or "
        "look for broken weights (`steer-anomaly models info`)"
    )


class _Room:
    """How many images may be in memory at a time, by the largest that was seen."""

    def __init__(self) -> None:
        self.largest: int | None = None

    def seen(self, image: np.ndarray) -> None:
        self.largest = max(self.largest or 1, image.shape[0] * image.shape[1])

    def at_most(self, count: int) -> int:
        """`count`, or as many as there is room for; one until the first image was read."""
        return 1 if self.largest is None else max(1, min(count, PIXELS // self.largest))


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In], depth: Callable[[], int]
) -> Iterator[_Out]:
    """`function` of each item, in order, with up to `depth()` of them begun and not yet handed on."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        while waiting and (len(waiting) >= depth() or waiting[0].done()):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(read: Callable[[Item], L], room: _Room, item: Item) -> L | Failure:
    try:
        loaded = read(item)
    except SteerAnomalyError as error:
        return Failure(getattr(error, "reason", str(error)), unreadable=True)
    room.seen(loaded.image)
    return loaded


def _batches(loaded: Iterable[_In], size: int, room: _Room) -> Iterator[list[_In]]:
    batch: list[_In] = []
    for one in loaded:
        batch.append(one)
        if len(batch) >= room.at_most(size):
            yield batch
            batch = []
    if batch:
        yield batch


def _work(
    work: Callable[[list[L]], Sequence[Found | NotJudged]],
    doubt: Callable[[L, Found], str | None],
    batch: list[tuple[Item, L | Failure]],
) -> list[tuple[Item, L | Failure, Found | Failure]]:
    sound = [loaded for _, loaded in batch if not isinstance(loaded, Failure)]
    results = iter(work(sound) if sound else ())
    worked: list[tuple[Item, L | Failure, Found | Failure]] = []
    for item, loaded in batch:
        if isinstance(loaded, Failure):
            worked.append((item, loaded, loaded))
        elif isinstance(found := next(results), NotJudged):
            worked.append((item, loaded, Failure(str(found))))
        else:
            reason = doubt(loaded, found)
            worked.append((item, loaded, found if reason is None else Failure(reason)))
    return worked


def _jobs(
    write: Callable[[L, Found], Callable[[], Row]],
    batches: Iterable[list[tuple[Item, L | Failure, Found | Failure]]],
) -> Iterator[tuple[Item, Callable[[], Row] | Failure]]:
    for batch in batches:
        for item, loaded, found in batch:
            if isinstance(found, Failure):
                yield item, found
            elif not isinstance(loaded, Failure):
                yield item, write(loaded, found)


def _done(job: tuple[Item, Callable[[], Row] | Failure]) -> tuple[Item, Row | Failure]:
    item, rest = job
    return item, rest if isinstance(rest, Failure) else rest()


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that finish what they have begun when the loop ends early, and begin nothing more."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
