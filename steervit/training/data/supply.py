"""Samples from a mixture of sources: reads a record, augments it, cuts its mask into patches.

Pure in (step, slot), so that any process, worker or resumed run reads the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_data_config

from steervit.modeling.model import SteerViT
from steervit.training.data.augment import augment, squash
from steervit.training.data.batches import Sample
from steervit.training.data.mixture import Mixture
from steervit.training.data.records import Record, RecordError
from steervit.training.data.sources import read_mixture
from steervit.training.losses import patch_fractions, pointing_targets
from steervit.training.recipe import DataSettings, Recipe

log = logging.getLogger(__name__)
ATTEMPTS = 20  # other records of the same source tried when one cannot be read


def read_data(recipe: Recipe, index: Path | None) -> tuple[Mixture, Mixture]:
    """The recipe's training and validation mixtures. Raises ValueError or FileNotFoundError as the sources do."""
    data, train = recipe.data, recipe.train
    if not data.sources:
        raise ValueError("expected at least one source of data in the recipe, under data.sources")
    training = read_mixture(
        data.sources, "train", batch=train.batch, seed=train.seed, fraction=data.fraction, index=index
    )
    return training, read_validation(recipe, index)


def read_validation(recipe: Recipe, index: Path | None) -> Mixture:
    """The recipe's validation mixture: all of every source, whatever its weight. Raises as `read_data`."""
    return read_mixture(_unweighted(recipe.data.sources), "validation", seed=recipe.train.seed, index=index)


def _unweighted(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: value for key, value in config.items() if key != "weight"}
        for name, config in sources.items()
    }


def expressions(mixture: Mixture, count: int) -> Iterator[str]:
    """Sentences of training records, from which a random text tower learns its vocabulary."""
    for number in range(min(count, len(mixture))):
        yield mixture.sample(*divmod(number, mixture.batch)).expression


class Transform:
    """Makes samples of records for a model's image size, patches and normalisation."""

    def __init__(self, data: DataSettings, model: SteerViT) -> None:
        self.data = data
        self.size, self.patch = model.image_size[0], model.patch_size
        config = resolve_data_config({}, model=model.trunk)
        self.mean, self.std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))

    def whole(self, record: Record) -> Sample:
        """The whole image, never augmented. Raises `RecordError`."""
        return self._sample(*squash(*record.load(), self.size), record)

    def augmented(self, record: Record, random: np.random.Generator) -> Sample:
        """As the paper augments. Raises `RecordError`."""
        return self._sample(*augment(*record.load(), record.expression, self.size, random), record)

    def _sample(self, image: np.ndarray, mask: np.ndarray, record: Record) -> Sample:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        masks = torch.from_numpy(np.ascontiguousarray(mask))[None]
        target = covered = patch_fractions(masks, self.patch)
        if self.data.target == "point":
            target = pointing_targets(masks, self.patch, self.data.point_sigma)
        return Sample(
            (pixels - self.mean) / self.std, target[0], covered[0], record.expression, record.source
        )


class ValidationSamples:
    """The first `per_source` readable records of every source, in the mixture's own order."""

    def __init__(self, mixture: Mixture, transform: Transform, per_source: int) -> None:
        self._transform = transform
        self._records: list[Record] = []
        for source in mixture.sources:
            self._records += _readable(mixture, source.name, per_source)
        self.sources: Sequence[str] = [record.source for record in self._records]

    def __getitem__(self, index: int) -> Sample:
        return self._transform.whole(self._records[index])


class MixtureSupply:
    """A `Supply` over the mixtures of a recipe."""

    def __init__(
        self, data: DataSettings, training: Mixture, validation: Mixture, model: SteerViT, per_source: int
    ) -> None:
        self.data, self.mixture, self._transform = data, training, Transform(data, model)
        self._validation = ValidationSamples(validation, self._transform, per_source)
        self.validation_sources = self._validation.sources
        self.kinds = 0

    def training(self, step: int, slot: int) -> Sample:
        """See `Supply`. A record that cannot be read is named in a warning, and another takes its place."""
        for attempt in range(ATTEMPTS):
            record = self.mixture.sample(step, slot, attempt)
            try:
                if not self.data.augment:
                    return self._transform.whole(record)
                return self._transform.augmented(record, self.mixture.generator(step, slot, attempt))
            except RecordError as error:
                log.warning("step %d: %s; another record of %s is taken", step, error, record.source)
        raise RecordError(f"{ATTEMPTS} records of one source in a row cannot be read: see the warnings above")

    def validation(self, index: int) -> Sample:
        """See `Supply`."""
        return self._validation[index]


def _readable(mixture: Mixture, name: str, count: int) -> list[Record]:
    """The first `count` records of a source that can be read, in the mixture's own order."""
    found: list[Record] = []
    for record in islice(mixture.kept(name), 2 * count):
        if len(found) == count:
            break
        try:
            record.load()
        except RecordError as error:
            log.warning("validation: %s; it is left out", error)
        else:
            found.append(record)
    return found
