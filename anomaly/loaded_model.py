"""A SteerViT in torch as the observer asks it: loaded when first needed, one precision, one set of prompts.

The only module on the way to a verdict that needs torch by itself; a bundle has another (`anomaly.bundle`).
Letters: T tiles, S the model's image side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.dark_lines import dark_lines
from anomaly.evidence.describers import EyesDescriber, TokenDescriber
from anomaly.evidence.protocol import Describer, Evidence
from anomaly.evidence.self_similarity import self_similarity
from anomaly.model_files import FoundModel
from anomaly.pictures.sizes import picture_at
from anomaly.prompts import PromptSet
from anomaly.settings import InspectionSettings

if TYPE_CHECKING:
    from steervit import SteerViT
    from steervit.inference.ensemble import PromptBank, Segmentation

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class LoadedModel:
    """See `anomaly.observer.Model`. `found` is the model, which stays as it is: this has a view of its own.

    `device` is a name; by default the one that a model given in memory is on, else CUDA where there is one. Raises
    `SteerAnomalyError` for one that is not usable here. Any threads may ask.
    """

    evidence: Mapping[str, Evidence] = {"self_similarity": self_similarity, "dark_lines": dark_lines}

    def __init__(
        self, found: FoundModel, settings: InspectionSettings, prompts: PromptSet, device: str | None
    ) -> None:
        self._found, self._settings, self._prompts = found, settings, prompts
        self._device = usable_device(device, found.given)
        self.device = str(self._device)
        self.describer: Describer = (
            EyesDescriber()
            if found.defaults.description == "eyes"
            else TokenDescriber(lambda: self.steervit, self.squashed)
        )
        self._banks: dict[str, PromptBank] = {}
        self._loaded: SteerViT | None = None
        self._loading = RLock()

    @property
    def steervit(self) -> SteerViT:
        """The model, loaded on first use; a view of its own of one that was given."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._found.load().view(self._device, PRECISIONS[self._settings.precision])
                self._loaded.set_gate_factor(self._settings.omega)
            return self._loaded

    @property
    def contrast(self) -> int:
        """How many of the maps, the last ones, are to be subtracted."""
        count = len(self._prompts.contrast)
        return min(count, 1) if self._settings.ensemble == "fused" else count

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patches per column and per row."""
        return self.steervit.grid_size

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px of a tile."""
        return self.steervit.image_size

    def segment(self, tiles: np.ndarray, object: str) -> Segmentation:
        """Tiles uint8 (T, S, S, 3) -> what the model gives of each."""
        return self.steervit.segment(self.pixels(tiles), self.bank(object))

    def prepare(self, object: str, last: bool = False) -> None:
        """Load the model and encode the prompts for `object` now; with `last` let go of the text tower."""
        self.bank(object)
        if last:
            self.steervit.drop_text_encoder()

    def pixels(self, tiles: np.ndarray) -> torch.Tensor:
        """Tiles uint8 (T, S, S, 3) -> what the model takes, (T, 3, S, S)."""
        return (torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def squashed(self, image: np.ndarray) -> torch.Tensor:
        """An image as the model takes it whole, (1, 3, S, S)."""
        return self.pixels(picture_at(image, self.image_size)[None])

    def bank(self, object: str) -> PromptBank:
        """The prompts of the part called `object`, encoded once."""
        with self._loading:
            if object not in self._banks:
                texts = self._prompts.fill(object) + self._prompts.fill_contrast(object)
                bank = self.steervit.prepare(texts)
                groups = [len(self._prompts.prompts), len(self._prompts.contrast)]
                if self._settings.ensemble == "fused":
                    bank = bank.fused(groups)
                elif self._settings.ensemble == "cascade":
                    bank = bank.cascaded(groups)
                self._banks[object] = bank
            return self._banks[object]

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the three colours (0..1) that the trunk was trained with."""
        data = getattr(self.steervit.trunk, "pretrained_cfg", {})
        if "mean" in data and "std" in data:
            return tuple(data["mean"]), tuple(data["std"])
        from timm.data import resolve_data_config  # a second

        data = resolve_data_config({}, model=self.steervit.trunk)
        return tuple(data["mean"]), tuple(data["std"])

    @cached_property
    def _mean(self) -> torch.Tensor:
        return torch.tensor(self.normalisation[0]).view(1, 3, 1, 1)

    @cached_property
    def _std(self) -> torch.Tensor:
        return torch.tensor(self.normalisation[1]).view(1, 3, 1, 1)


def usable_device(name: str | None, model: Any) -> torch.device:
    """The device called `name`; by default the one a loaded `model` is on, else CUDA where there is one.

    Raises `SteerAnomalyError` for one that is not usable here.
    """
    if name is None and model is not None and not isinstance(model, str | Path):
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
