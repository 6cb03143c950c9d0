"""Asks a model about single images: pixels and a part's name go in, an `Observation` comes out. Makes no verdict.

Letters: P prompts, T tiles, S the model's image side in pixels, h x w patches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anomaly import heatmaps
from anomaly.decision.gate import look
from anomaly.errors import SteerAnomalyError
from anomaly.evidence.dark_lines import dark_lines
from anomaly.evidence.describers import Describer, TokenDescriber
from anomaly.evidence.protocol import Evidence, Seen
from anomaly.evidence.self_similarity import self_similarity
from anomaly.model_files import FoundModel
from anomaly.observation import Observation
from anomaly.prompts import PromptSet
from anomaly.settings import InspectionSettings
from anomaly.tiles import Tiling, parse_scales

if TYPE_CHECKING:
    from steervit import SteerViT
    from steervit.inference.ensemble import PromptBank, Segmentation

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
TILES_AT_ONCE = 32  # that are held as pixels
EVIDENCE: dict[str, Evidence] = {"self_similarity": self_similarity, "dark_lines": dark_lines}


class Observer:
    """One model under one set of settings. Weights are loaded when first asked for; any threads may ask.

    `found` is the model, which stays as it is; `describer` describes pictures for comparing, by default with the
    model's own tokens.
    """

    def __init__(
        self,
        found: FoundModel,
        settings: InspectionSettings,
        prompts: PromptSet,
        device: torch.device,
        describer: Describer | None,
    ) -> None:
        self.settings, self.prompts, self.device = settings, prompts, device
        self._found, self._describer = found, describer or TokenDescriber(lambda: self.model, self._squashed)
        self._banks: dict[str, PromptBank] = {}
        self._model: SteerViT | None = None
        self._loading = RLock()

    @property
    def model(self) -> SteerViT:
        """The model, loaded on first use; a view of its own of one that was given."""
        with self._loading:
            if self._model is None:
                self._model = self._found.load().view(self.device, PRECISIONS[self.settings.precision])
                self._model.set_gate_factor(self.settings.omega)
            return self._model

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
        for tiling in self.tilings:
            for i, found in enumerate(self._segmented(images, tiling, object)):
                one, parts = self._map(Seen(images[i], tiling, found, self._working_size(tiling)))
                maps[i].append(one)
                evidence[i] = evidence[i] or parts  # for looking at: of the first scale
        seen = tuple(np.max([self._working_size(tiling) for tiling in self.tilings], 0).tolist())
        descriptions = [self._describer(image) if described else None for image in images]
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
            )
            for i, image in enumerate(images)
        ]

    def prepare(self, object: str, last: bool = False) -> None:
        """Load the model and encode the prompts for `object` now; with `last` let go of the text tower."""
        self._bank(object)
        if last:
            self.model.drop_text_encoder()

    # Steps -----------------------------------------------------------------------------------------------

    @cached_property
    def tilings(self) -> list[Tiling]:
        """How an image is cut, one way for each scale."""
        return [Tiling(r, c, self.model.grid_size) for r, c in parse_scales(self.settings.scales)]

    def _segmented(self, images: list[np.ndarray], tiling: Tiling, object: str) -> Iterator[Segmentation]:
        """What the model gives of every tile of each image, several images in one call where they are small."""
        bank, tiles = self._bank(object), tiling.rows * tiling.columns
        step = max(1, TILES_AT_ONCE // tiles)
        for start in range(0, len(images), step):
            cut = [tiling.cut(image, self.model.image_size) for image in images[start : start + step]]
            found = self.model.segment(self._pixels(np.concatenate(cut)), bank)
            yield from found.split(tiles)

    def _pixels(self, tiles: np.ndarray) -> torch.Tensor:
        """Tiles uint8 (T, S, S, 3) -> what the model takes, (T, 3, S, S)."""
        return (torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def _squashed(self, image: np.ndarray) -> torch.Tensor:
        """An image as the model takes it whole, (1, 3, S, S)."""
        return self._pixels(Tiling(1, 1, (1, 1)).cut(image, self.model.image_size))

    def _map(self, seen: Seen) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """One map of the whole picture, as fine as its evidence, and the evidence in it by name."""
        logits = seen.tiling.blend(seen.found.logits.cpu().numpy())
        contrast, parts = len(self.prompts.contrast), {}
        for name, evidence in EVIDENCE.items():
            if weight := getattr(self.settings, name):
                parts[name] = evidence(seen)
                logits = heatmaps.added(logits, weight * parts[name], contrast)
        one = heatmaps.average(heatmaps.activate(logits, self.settings.activation), contrast)
        return one, parts

    @cached_property
    def _mean(self) -> torch.Tensor:
        return self._normalisation("mean")

    @cached_property
    def _std(self) -> torch.Tensor:
        return self._normalisation("std")

    def _normalisation(self, key: str) -> torch.Tensor:
        from timm.data import resolve_data_config

        return torch.tensor(resolve_data_config({}, model=self.model.trunk)[key]).view(1, 3, 1, 1)

    def _working_size(self, tiling: Tiling) -> tuple[int, int]:
        (h, w), patch = tiling.canvas, self.model.patch_size
        return h * patch, w * patch

    def _bank(self, object: str) -> PromptBank:
        with self._loading:
            if object not in self._banks:
                texts = self.prompts.fill(object) + self.prompts.fill_contrast(object)
                self._banks[object] = self.model.prepare(texts)
            return self._banks[object]


def usable_device(name: str | None, model: Any) -> torch.device:
    """The device called `name`; by default the one a loaded `model` is on, else CUDA where there is one.

    Raises `SteerAnomalyError` for one that is not usable here.
    """
    if name is None and not isinstance(model, str | Path):
        return model.device
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SteerAnomalyError(
            f"expected a device that is usable here, {name!r} is not: {reason}"
        ) from error
