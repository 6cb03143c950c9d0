"""Makes masks in several processes of this machine, which share the shards out among them by number.

What a mask is and how it is made is `sam_masks`' business.
"""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steervit.training.masks.segment_anything import ImageBoxes, MaskMaker, make_masks

LOOK_EVERY = 0.5  # seconds between looks whether a process has died


@dataclass(frozen=True)
class MaskJob:
    """What to make, and how. `part` of `parts`: which share of the shards this machine makes."""

    images: Sequence[ImageBoxes]
    out: Path
    model: str
    device: str = "auto"
    precision: str = "fp32"
    images_per_shard: int = 250
    boxes_at_once: int = 64
    part: int = 0
    parts: int = 1

    @property
    def made_with(self) -> dict[str, str]:
        """What must be the same for a shard to be kept."""
        return {"model": self.model, "precision": self.precision}


def run(job: MaskJob, processes: int = 1, progress: Callable[[int], None] = lambda count: None) -> int:
    """Make the missing shards of this machine's share; returns how many were made.

    `progress` is told images done. Raises ValueError or FileNotFoundError as `make_masks` and `MaskMaker`
    do, RuntimeError when a process dies; finished shards stay, so the same call goes on.
    """
    if processes == 1:
        return _make(job, job.part, job.parts, 0, progress)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use the GPU
    reports = context.Queue()
    workers = [
        context.Process(target=_work, args=(job, number, processes, reports), daemon=True)
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        return _followed(workers, reports, progress)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _followed(workers: Sequence[Any], reports: Any, progress: Callable[[int], None]) -> int:
    made, running = 0, set(range(len(workers)))
    while running:
        try:
            number, kind, value = reports.get(timeout=LOOK_EVERY)
        except queue.Empty:
            for number in [n for n in running if not workers[n].is_alive()]:
                raise RuntimeError(
                    f"process {number} ended with code {workers[number].exitcode}, perhaps for lack of memory: "
                    "run the same command again, with fewer processes; finished shards are kept"
                ) from None
            continue
        if kind == "images":
            progress(value)
        elif kind == "error":
            raise value
        else:
            made += value
            running.discard(number)
    return made


def _work(job: MaskJob, number: int, processes: int, reports: Any) -> None:
    import torch

    if job.device != "cuda":
        torch.set_num_threads(max(1, multiprocessing.cpu_count() // processes))
    try:
        made = _make(
            job,
            job.part + job.parts * number,  # whatever their number, a machine's processes make its share
            job.parts * processes,
            number,
            lambda count: reports.put((number, "images", count)),
        )
        reports.put((number, "made", made))
    except (ValueError, OSError) as error:
        reports.put((number, "error", type(error)(str(error))))
    except Exception:
        reports.put((number, "error", RuntimeError(f"process {number} failed:\n{traceback.format_exc()}")))


def _make(job: MaskJob, process: int, processes: int, number: int, progress: Callable[[int], None]) -> int:
    device = _device(job.device, number)
    return make_masks(
        job.images,
        job.out,
        lambda: MaskMaker(job.model, device, job.precision, job.boxes_at_once),
        job.made_with,
        job.images_per_shard,
        process,
        processes,
        progress,
    )


def _device(name: str, number: int) -> str:
    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{number % torch.cuda.device_count()}"
    return "cpu" if name == "auto" else name
