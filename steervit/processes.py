"""The processes of one run: one alone, or several started by torchrun on one or many machines.

Knows neither what is computed nor what is exchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Items = TypeVar("Items", bound=Sequence[Any])

SUM_TIMEOUT = timedelta(hours=1)  # between processes that all do the same: a longer silence is a dead machine
WAIT_TIMEOUT = timedelta(days=7)  # for one that fetches weights, renders scenes or has the slowest images


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count` and computes on `device`; number 0 writes files and speaks."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    group: Any = field(default=None, repr=False, compare=False)  # the group in which processes wait long

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def share(self, items: Items) -> Items:
        """This process's part of a list: every `count`-th item."""
        return items[self.rank :: self.count]  # type: ignore[return-value]  # a list of a list, a range of a range

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's `values`, in every process."""
        if self.count > 1:
            import torch.distributed as dist

            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value`, by rank, in every process. Waits for the slowest, up to `WAIT_TIMEOUT`."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def broadcast(self, value: T) -> T:
        """The leading process's `value`, in every process; what the others give is ignored."""
        if self.count == 1:
            return value
        import torch.distributed as dist

        values = [value if self.leads else None]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Returns when all processes have come here, or raises when one has not within `WAIT_TIMEOUT`."""
        self.gather(None)


@contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """The processes torchrun has started (it sets WORLD_SIZE), or this one alone.

    `device` is that of torch (cpu, cuda), by default a GPU where there is one. Sums go by nccl on GPUs, else by
    gloo; objects and waiting go by gloo in a group of their own, which is in no hurry.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=device)
        return
    import torch.distributed as dist

    if device == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=SUM_TIMEOUT)
    try:
        patient = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
        yield Processes(dist.get_rank(), dist.get_world_size(), device, patient)
    finally:
        dist.destroy_process_group()
