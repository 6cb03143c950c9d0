"""What a training step reads: samples by step and slot, read and augmented by worker processes.

The engine asks a `Supply` for sample (step, slot) and knows nothing of files, records or data sets.
Letters: B samples, S image side in pixels, h x w patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from steervit.processes import Processes


class Sample(NamedTuple):
    """pixels (3, S, S) normalised; target (h*w) of the loss, at least 0; covered (h*w), the fraction of each
    patch that the mask covers, 0..1 (often the same as the target); sentence; source."""

    pixels: Tensor
    target: Tensor
    covered: Tensor
    text: str
    source: str


class WindowSample(NamedTuple):
    """A window of n patches with T sentences: features (n, F) of the patches, what the fixed part of the trunk
    gives; their numbers in the image, row by row (n); targets (T, n), 0..1; kinds (n), the number of the kind of
    thing that each patch shows, or -1; named (T), that of the kind that each sentence asks for, or -1."""

    features: Tensor
    patches: Tensor
    targets: Tensor
    texts: tuple[str, ...]
    source: str
    kinds: Tensor
    named: Tensor


class Supply(Protocol):
    """Where samples come from. Both methods are pure functions of their arguments, and can be pickled."""

    validation_sources: Sequence[str]  # the source of each validation sample

    @property
    def kinds(self) -> int:
        """How many kinds of things its training samples tell apart; 0: they do not say."""
        ...

    def training(self, step: int, slot: int) -> Sample | WindowSample:
        """The sample of `slot` (0 <= slot < batch over all processes) of `step`."""
        ...

    def validation(self, index: int) -> Sample:
        """Validation sample `index`, never augmented."""
        ...


@dataclass(frozen=True)
class Batch:
    """pixels (B, 3, S, S), or with `patches` (B, n) the features (B, n, F) of those; targets and covered
    (B*T, h*w or n); B*T sentences and their sources, image by image; kinds (B, n); named
    (B, T). T is 1 for whole images."""

    pixels: Tensor
    targets: Tensor
    covered: Tensor
    texts: list[str]
    sources: list[str]
    patches: Tensor | None = None
    kinds: Tensor | None = None
    named: Tensor | None = None


def collate(samples: Sequence[Sample | WindowSample]) -> Batch:
    """Samples, all of one type -> one batch."""
    windows = [sample for sample in samples if isinstance(sample, WindowSample)]
    if windows:
        return _collate_windows(windows)
    whole = [sample for sample in samples if isinstance(sample, Sample)]
    return Batch(
        torch.stack([sample.pixels for sample in whole]),
        torch.stack([sample.target for sample in whole]),
        torch.stack([sample.covered for sample in whole]),
        [sample.text for sample in whole],
        [sample.source for sample in whole],
    )


def _collate_windows(windows: Sequence[WindowSample]) -> Batch:
    targets = torch.cat([window.targets for window in windows])
    return Batch(
        torch.stack([window.features for window in windows]),
        targets,
        targets,
        [text for window in windows for text in window.texts],
        [window.source for window in windows for _ in window.texts],
        torch.stack([window.patches for window in windows]),
        torch.stack([window.kinds for window in windows]),
        torch.stack([window.named for window in windows]),
    )


class _Training(Dataset):
    def __init__(self, supply: Supply, slots: range) -> None:
        self.supply, self.slots = supply, slots

    def __getitem__(self, step: int) -> Batch:
        return collate([self.supply.training(step, slot) for slot in self.slots])


class _Validation(Dataset):
    def __init__(self, supply: Supply) -> None:
        self.supply = supply

    def __getitem__(self, indices: list[int]) -> Batch:
        return collate([self.supply.validation(index) for index in indices])


def slots(processes: Processes, batch: int) -> range:
    """This process's samples of a batch of `batch`. Raises ValueError when it cannot be shared evenly."""
    if batch % processes.count:
        raise ValueError(
            f"expected train.batch to be a multiple of the {processes.count} processes, got {batch}; "
            f"train.batch={max(1, batch // processes.count) * processes.count} would do"
        )
    share = batch // processes.count
    return range(processes.rank * share, (processes.rank + 1) * share)


def training_batches(supply: Supply, slots: range, steps: range, workers: int) -> Iterator[Batch]:
    """The batches of `steps`, in order, whatever the number of workers."""
    return iter(_loader(_Training(supply, slots), steps, workers))


def validation_batches(supply: Supply, indices: Sequence[int], size: int, workers: int) -> Iterator[Batch]:
    """The validation samples `indices` in batches of `size`."""
    parts = [list(indices[start : start + size]) for start in range(0, len(indices), size)]
    return iter(_loader(_Validation(supply), parts, workers))


def _loader(dataset: Dataset, order: Sequence, workers: int) -> DataLoader:
    # One item is one whole batch: samplers hand out steps (or lists of indices), batch_size None.
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),  # the loader must not draw from the run's own generator
    )
