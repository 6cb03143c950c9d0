"""The processes of one evaluation: one alone, or several started by torchrun. They exchange objects only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`; number 0 writes the results."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, items: list[Any]) -> list[Any]:
        """This process's part of a list: every `count`-th item."""
        return items[self.rank :: self.count]

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value`, by rank, in every process. Waits for the slowest."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Returns when all processes have come here."""
        self.gather(None)


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes torchrun has started (it sets WORLD_SIZE), joined by gloo; or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(hours=24))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
