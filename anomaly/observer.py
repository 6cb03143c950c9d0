"""Asks a model about single images: pixels and a part's name go in, an `Observation` comes out. Makes no verdict.

What the model runs on is its own business (`Model`): torch, or a bundle without it.
Letters: P prompts, T tiles, S the model's image side in pixels, h x w patches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Protocol

import numpy as np

from anomaly import heatmaps
from anomaly.decision.gate import look
from anomaly.evidence.protocol import Describer, Evidence, Found, Seen
from anomaly.observation import Observation
from anomaly.pictures.sizes import picture_at
from anomaly.settings import InspectionSettings
from anomaly.tiles import Tiling, parse_scales

TILES_AT_ONCE = 32  # that are held as pixels


class Model(Protocol):
    """What an observer needs of a model. Any threads may ask."""

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patches per column and per row of a tile."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px of a tile."""

    @property
    def evidence(self) -> Mapping[str, Evidence]:
        """Evidence besides the text, by the name of its weight in the settings."""

    @property
    def describer(self) -> Describer:
        """Describes pictures for comparing."""

    @property
    def contrast(self) -> int:
        """How many of the maps, the last ones, are to be subtracted."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def segment(self, tiles: np.ndarray, object: str) -> Found:
        """Tiles uint8 RGB (T, S, S, 3) -> what the model gives of each, for the part called `object`."""

    def prepare(self, object: str, last: bool = False) -> None:
        """Load what is needed for `object` now; with `last` let go of what only other parts need."""


class Observer:
    """One model under one set of settings."""

    def __init__(self, settings: InspectionSettings, model: Model) -> None:
        self.settings, self.model = settings, model

    def observe(
        self, images: list[np.ndarray], object: str, described: bool = False, looked_at: bool = False
    ) -> list[Observation]:
        """What the model says of each RGB uint8 H x W x 3 image: its map before smoothing, and each piece of evidence.

        `object` is the part's name as prompts have it. With `described` each has what its patches look like, with
        `looked_at` what a gate asks of a photograph.
        """
        began = time.perf_counter()
        maps: list[list[np.ndarray]] = [[] for _ in images]
        evidence: list[dict[str, np.ndarray]] = [{} for _ in images]
        whole: dict[int, np.ndarray] = {}
        for tiling in self.tilings:
            for i, (tiles, found) in enumerate(self._segmented(images, tiling, object)):
                if len(tiles) == 1:
                    whole[i] = tiles[0]
                one, parts = self._map(Seen(images[i], tiling, found, self._working_size(tiling)))
                maps[i].append(one)
                evidence[i] = evidence[i] or parts  # for looking at: of the first scale
        seen = tuple(np.max([self._working_size(tiling) for tiling in self.tilings], 0).tolist())
        descriptions = [self.model.describer(image) if described else None for image in images]
        looks = [look(image) if looked_at else None for image in images]
        each = (time.perf_counter() - began) * 1000 / max(1, len(images))
        return [
            Observation(
                heatmaps.mean_of_sizes(maps[i]),
                image.shape[:2],
                seen,
                object,
                evidence[i],
                each,
                descriptions[i],
                looks[i],
                picture=self._picture(image, seen, whole.get(i)),
            )
            for i, image in enumerate(images)
        ]

    # Steps -----------------------------------------------------------------------------------------------

    @cached_property
    def tilings(self) -> list[Tiling]:
        """How an image is cut, one way for each scale."""
        return [Tiling(r, c, self.model.grid_size) for r, c in parse_scales(self.settings.scales)]

    def _segmented(
        self, images: list[np.ndarray], tiling: Tiling, object: str
    ) -> Iterator[tuple[np.ndarray, Found]]:
        """The tiles of each image and what the model gives of them, several images in one call where they are small."""
        tiles = tiling.rows * tiling.columns
        step = max(1, TILES_AT_ONCE // tiles)
        for start in range(0, len(images), step):
            cut = [tiling.cut(image, self.model.image_size) for image in images[start : start + step]]
            yield from zip(cut, self.model.segment(np.concatenate(cut), object).split(tiles), strict=True)

    def _map(self, seen: Seen) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """One map of the whole picture, as fine as its evidence, and the evidence in it by name."""
        logits = seen.tiling.blend(seen.found.maps)
        contrast, parts = self.model.contrast, {}
        for name, evidence in self.model.evidence.items():
            if weight := getattr(self.settings, name):
                parts[name] = evidence(seen)
                logits = heatmaps.added(logits, weight * parts[name], contrast)
        one = heatmaps.average(heatmaps.activate(logits, self.settings.activation), contrast)
        return one, parts

    def _picture(
        self, image: np.ndarray, seen: tuple[int, int], whole: np.ndarray | None
    ) -> np.ndarray | None:
        """The picture at `seen` (height, width) pixels, where its map is to follow it; `whole` if that is its size."""
        if not self.settings.guided:
            return None
        return whole if whole is not None and whole.shape[:2] == seen else picture_at(image, seen)

    def _working_size(self, tiling: Tiling) -> tuple[int, int]:
        (h, w), patch = tiling.canvas, self.model.image_size[0] // self.model.grid_size[0]
        return h * patch, w * patch
