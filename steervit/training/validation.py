"""*pmass* per source: the softmax mass on the patches of the target, mean over validation samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from steervit.processes import Processes
from steervit.training.data.batches import Batch, Supply, validation_batches
from steervit.training.losses import pmass

ALL = "all"


@torch.no_grad()
def validate(
    logits_of: Callable[[Batch], Tensor], supply: Supply, processes: Processes, batch: int, workers: int
) -> dict[str, float]:
    """Mean pmass (0..1) by source, and as `all` the mean of those means. Samples without a target are left out.

    The processes share the samples; all get the same result.
    """
    names = sorted(set(supply.validation_sources))
    sums = torch.zeros(len(names), 2, dtype=torch.float64)  # mass, samples
    share = processes.share(range(len(supply.validation_sources)))
    for part in validation_batches(supply, share, batch, workers):
        mass = pmass(logits_of(part).cpu(), part.covered).double()
        for source, value in zip(part.sources, mass, strict=True):
            if not torch.isnan(value):
                sums[names.index(source)] += torch.stack([value, torch.ones_like(value)])
    sums = processes.total(sums)
    means = {name: float(mass / count) for name, (mass, count) in zip(names, sums, strict=True) if count}
    return {**means, ALL: sum(means.values()) / len(means)} if means else {}
