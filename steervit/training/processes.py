"""The processes of one training run: one alone, or several started by torchrun on one or many machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count` and works on `device`; number 0 writes files."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum of every process's `values`, in every process."""
        if self.count > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def wait(self) -> None:
        """Returns when all processes have come here."""
        self.total(torch.zeros(1))

    def slots(self, batch: int) -> range:
        """This process's samples of a batch of `batch`. Raises ValueError when it cannot be shared evenly."""
        if batch % self.count:
            raise ValueError(
                f"expected train.batch to be a multiple of the {self.count} processes, got {batch}; "
                f"--set train.batch={max(1, batch // self.count) * self.count} would do"
            )
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)


@contextmanager
def joined(device: str | None = None) -> Iterator[Processes]:
    """The processes torchrun has started (it sets WORLD_SIZE), by nccl on GPUs, else gloo; or this one alone."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(torch.device(name))
        return
    if name == "cuda":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        torch.cuda.set_device(name)
    dist.init_process_group("nccl" if name.startswith("cuda") else "gloo", timeout=timedelta(hours=1))
    try:
        yield Processes(torch.device(name), dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
