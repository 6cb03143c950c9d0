"""Windows of rendered scenes from cached features: nano's training data. Validation is on whole images.

Pure in (step, slot), so that any process, worker or resumed run reads the same.
Letters: n patches of a window, F features of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steervit.modeling.model import SteerViT
from steervit.nano.scene_cache import CachedScenes, FeatureCache, Sentence
from steervit.nano.scenes.shards import read_shard
from steervit.nano.scenes.vocabulary import defect_kinds
from steervit.nano.trunk import WhitenedPatchEmbed
from steervit.nano.window_settings import WindowSettings
from steervit.training.data.augment import names_direction
from steervit.training.data.batches import Sample, WindowSample
from steervit.training.data.mixture import Mixture, Source
from steervit.training.data.sources import scene_shards
from steervit.training.data.supply import Transform, ValidationSamples
from steervit.training.recipe import DataSettings, Recipe

CLEARLY = 0.3  # covered fraction from which a patch shows a kind of defect
BARELY = 0.1  # and above which it shows another one as well
EVERYTHING = "all"  # the renderer's word for a sentence that asks for every defect
ONE_KIND = "defect"  # and for one that asks for every defect of a kind that is there


def draw_scenes(recipe: Recipe, index: Path) -> list[Source]:
    """The shards of the recipe's sources, all of kind rendered, as records; what is missing is drawn.

    Raises ValueError for another kind of source.
    """
    drawn = []
    for name, config in recipe.data.sources.items():
        found, weight = scene_shards(name, config, index, max(1, recipe.data.workers))
        drawn.append(Source(name, found, weight))
    return drawn


def expressions(drawn: Sequence[Source], count: int) -> Iterator[str]:
    """Sentences of the scenes in shards, from which a random text tower learns its words."""
    shards = (shard for source in drawn for shard in source.records)
    said = (one.text for shard in shards for scene in read_shard(shard) for one in scene.sentences)
    return islice(said, count)


def read_scenes(recipe: Recipe, drawn: Sequence[Source], model: SteerViT, index: Path) -> Mixture:
    """A mixture whose records are scenes: `CachedScenes` of each source's shards, cached if need be.

    Raises ValueError for a trunk without fixed filters.
    """
    embed: Any = model.trunk.patch_embed
    if not isinstance(embed, WhitenedPatchEmbed):
        raise ValueError(
            "data.windows caches what fixed filters give, and this trunk learns from pixels on: "
            "set model.trunk to steervit_nano, or data.windows to null"
        )
    data, cache = recipe.data, FeatureCache(embed, model.image_size[0], index / "features")
    assert data.windows is not None  # else nobody asks for scenes
    sources = [
        Source(
            one.name,
            CachedScenes(cache, one.records, max(1, data.workers), data.windows.salience),
            one.weight,
        )
        for one in drawn
    ]
    return Mixture(sources, recipe.train.batch, recipe.train.seed, data.fraction)


def sample_features(scenes: Mixture, count: int) -> Iterator[Tensor]:
    """Features (h*w, F) of whole scenes, the first `count` that are drawn."""
    for number in range(min(count, len(scenes))):
        source, index = scenes.locate(*divmod(number, scenes.batch))
        yield scenes.sources[source].records.features(index).flatten(0, 1)


def calibrate(model: SteerViT, features: Iterable[Tensor]) -> None:
    """Set, once, the scale of nano's fixed features from those (N, F) of images; other trunks need nothing."""
    embed = model.trunk.patch_embed
    if isinstance(embed, WhitenedPatchEmbed):
        embed.calibrate(torch.cat([one.float() for one in features]))


class SceneSupply:
    """A `Supply` of windows of scenes with a few sentences each. Silenced features take their mean's value."""

    def __init__(
        self, data: DataSettings, scenes: Mixture, validation: Mixture, model: SteerViT, per_source: int
    ) -> None:
        assert data.windows is not None  # else the recipe wants whole images
        self.scenes, self.augment, self.windows = scenes, data.augment, data.windows
        embed: Any = model.trunk.patch_embed
        self.grid, self.channels = model.grid_size[0], embed.channels
        self.ordinary, self.mirrored = embed.ordinary.detach().cpu().clone(), embed.mirrored
        self._validation = ValidationSamples(validation, Transform(data, model), per_source)
        self.validation_sources: Sequence[str] = self._validation.sources

    @property
    def kinds(self) -> int:
        """The renderer's kinds of defects."""
        return len(defect_kinds())

    def training(self, step: int, slot: int) -> WindowSample:
        """See `Supply`."""
        number, index = self.scenes.locate(step, slot)
        source = self.scenes.sources[number]
        scenes, random = source.records, self.scenes.generator(step, slot)
        flips = [axis for axis in (0, 1) if self.augment and random.random() < 0.5]
        said = scenes.sentences(index)
        chosen = _choose(said, self.windows, bool(flips), random)
        side = min(self.windows.side, self.grid)
        there = [one for one in said if one.kind == ONE_KIND]
        top, left = _window(random, side, self.grid, self._centre(scenes, index, there, random))
        rows, columns = slice(top, top + side), slice(left, left + side)
        features = scenes.features(index, rows, columns)
        targets = torch.stack([scenes.target(index, one, rows, columns) for one in chosen], -1)
        kinds = _kinds(scenes, index, there, rows, columns)
        drawn = random.random(int(self.channels.max()) + 1) < self.windows.feature_dropout
        features = torch.where(torch.from_numpy(drawn)[self.channels], self.ordinary, features)
        patches = torch.arange(self.grid**2).view(self.grid, self.grid)[rows, columns]
        if flips:
            features, targets, kinds = self.mirrored(features, flips), targets.flip(flips), kinds.flip(flips)
        return WindowSample(
            features.flatten(0, 1),
            patches.flatten(),
            targets.flatten(0, 1).T.contiguous(),
            tuple(one.text for one in chosen),
            source.name,
            kinds.flatten(),
            torch.tensor([defect_kinds().index(one.names) if one.names else -1 for one in chosen]),
        )

    def _centre(
        self, scenes: CachedScenes, index: int, there: Sequence[Sentence], random: np.random.Generator
    ) -> Tensor | None:
        """A patch (row, column) of one of the defects that are `there`, as often as the recipe says."""
        if random.random() >= self.windows.at_defects:
            return None
        shown = [scenes.target(index, one) > CLEARLY for one in there]
        places = [mask.nonzero() for mask in shown if mask.any()]
        if not places:
            return None
        chosen = places[int(random.integers(len(places)))]
        return chosen[int(random.integers(len(chosen)))]

    def validation(self, index: int) -> Sample:
        """See `Supply`: a whole image, through filters and all."""
        return self._validation[index]


def _kinds(
    scenes: CachedScenes, index: int, there: Sequence[Sentence], rows: slice, columns: slice
) -> Tensor:
    """The number of the one kind of defect on each patch of a rectangle (h, w); -1 for none, or more than one."""
    named = {one.names: one for one in there if one.names}
    shown = torch.stack([torch.zeros(()).expand(rows.stop - rows.start, columns.stop - columns.start)]
                        + [scenes.target(index, one, rows, columns) for one in named.values()])  # fmt: skip
    numbers = torch.tensor([-1, *(defect_kinds().index(name) for name in named)])
    most, place = shown.max(0)
    alone = (most > CLEARLY) & ((shown > BARELY).sum(0) == 1)
    return torch.where(alone, numbers[place], -1)


def _window(
    random: np.random.Generator, side: int, grid: int, centre: Tensor | None = None
) -> tuple[int, int]:
    # Starts are drawn past the border and moved back: else patches at the border would hardly ever be learned.
    low, high = np.full(2, -(side // 4)), np.full(2, grid - side + 1 + side // 4)
    if centre is not None:  # somewhere in the window
        low, high = centre.numpy() - side + 1, centre.numpy() + 1
    starts = random.integers(low, high).clip(0, grid - side)
    return int(starts[0]), int(starts[1])


def _choose(
    said: Sequence[Sentence], windows: WindowSettings, mirrored: bool, random: np.random.Generator
) -> list[Sentence]:
    """One sentence for all defects, the others anything else, no directions for a mirrored window; each once if
    there are enough."""
    everything = [one for one in said if one.kind == EVERYTHING]
    rest = [
        one
        for one in said
        if one.kind != EVERYTHING and not (mirrored and (one.kind == "position" or names_direction(one.text)))
    ]
    first = everything[int(random.integers(len(everything)))]
    rest = rest or everything
    mixed = random.permutation(len(rest))
    return [first, *(rest[int(i)] for i in np.resize(mixed, windows.sentences - 1))]
