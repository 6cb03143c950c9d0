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
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def inspect_all(
    items: Sequence[Item],
    read: Callable[[Item], L],
    inspect: Callable[[list[np.ndarray]], Sequence[Inspection | NotJudged]],
    write: Callable[[L, Inspection], Callable[[], Row]],
    *,
    batch_size: int = 8,
    workers: int = 1,
) -> Iterator[tuple[Item, Row | Failure]]:
    """Read, inspect and write every item; yields each with its row or `Failure`, in the order of `items`.

    `read` runs in threads of its own; a `SteerAnomalyError` from it is a `Failure`. `inspect` gets up to
    `batch_size` images at a time, in `workers` threads. `write` is called in order, in the caller's thread, and
    returns what is left to do; that is done in threads of its own and gives the row. At most `PIXELS` pixels of
    images wait between two steps (but always one image). Any other error ends the loop.
    """
    room = _Room()
    share = max(1, min(batch_size, -(-len(items) // workers)))
    with _pool(READERS) as readers, _pool(workers) as inspectors, _pool(WRITERS) as writers:
        loaded = _ahead(readers, partial(_read, read, room), items, lambda: room.at_most(share + READERS))
        batches = _batches(zip(items, loaded, strict=True), share, room)
        found = _ahead(inspectors, partial(_inspect, inspect), batches, lambda: room.at_most(workers + 1))
        jobs = ((item, _job(write, *result)) for batch in found for item, *result in batch)
        yield from _ahead(writers, _done, jobs, lambda: room.at_most(2 * WRITERS))


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
        "the model gave values that are not finite (NaN or infinite) for this image. Try --precision fp32, or "
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


def _inspect(
    inspect: Callable[[list[np.ndarray]], Sequence[Inspection | NotJudged]],
    batch: list[tuple[Item, L | Failure]],
) -> list[tuple[Item, L | Failure, Inspection | Failure | None]]:
    sound = [loaded.image for _, loaded in batch if not isinstance(loaded, Failure)]
    found = iter(inspect(sound) if sound else ())
    return [
        (item, loaded, None if isinstance(loaded, Failure) else _judged(loaded.image, next(found)))
        for item, loaded in batch
    ]


def _judged(image: np.ndarray, found: Inspection | NotJudged) -> Inspection | Failure:
    if isinstance(found, NotJudged):
        return Failure(str(found))
    reason = why_not_judged(image, found)
    return found if reason is None else Failure(reason)


def _job(
    write: Callable[[L, Inspection], Callable[[], Row]],
    loaded: L | Failure,
    found: Inspection | Failure | None,
) -> Callable[[], Row] | Failure:
    if isinstance(loaded, Failure):
        return loaded
    assert found is not None
    return found if isinstance(found, Failure) else write(loaded, found)


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
