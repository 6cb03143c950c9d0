"""Which model is used: finds its files, says what it is, and loads it when an image is to be inspected."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly.bundle.contents import is_bundle
from anomaly.decision.threshold import MapSettings, OperatingPoint, read_defaults
from anomaly.errors import as_user_errors
from anomaly.file_hashes import file_hash

if TYPE_CHECKING:
    from anomaly.bundle.opened import OpenedBundle
    from anomaly.loaded_model import LoadedModel
    from anomaly.prompts import PromptSet
    from anomaly.settings import InspectionSettings
    from steervit import SteerViT


@dataclass(frozen=True)
class ModelRecord:
    """Name, one sentence about it, licence, and the SHA-256 of each weights file (by part)."""

    name: str
    about: str
    licence: str
    hashes: dict[str, str] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True)
class FoundModel:
    """A model not loaded yet: its record, its images' side (height, width) in px, its defaults, and how to load it.

    `given` is the model itself where it is in memory already.
    """

    record: ModelRecord
    image_size: tuple[int, int]
    defaults: MapSettings
    point: OperatingPoint | None
    load: Callable[[], SteerViT]
    given: SteerViT | None = None

    @property
    def bundle(self) -> OpenedBundle | None:
        """What was exported, where that is the model."""
        return None

    def opened(self, settings: InspectionSettings, prompts: PromptSet, device: str | None) -> LoadedModel:
        """The model as an observer asks it, loaded when first asked. Raises `SteerAnomalyError` for the device."""
        from anomaly.loaded_model import LoadedModel

        return LoadedModel(self, settings, prompts, device)


def find_model(
    model: str | Path | SteerViT | FoundModel,
    trunk: str | Path | None = None,
    text_encoder: str | Path | None = None,
) -> FoundModel:
    """Find every file of `model`; one that was found stays as it is, so that several inspectors load it once.

    Raises `SteerAnomalyError` naming what is missing and how to get it.
    """
    if isinstance(model, FoundModel):
        return model
    if is_bundle(model):
        from anomaly.bundle.opened import OpenedBundle

        return OpenedBundle.at(model).found  # type: ignore[arg-type]
    if not isinstance(model, str | Path):
        record = ModelRecord(model.name, "a model given in memory", "its owner's", _hashes_of(model))
        return FoundModel(record, model.image_size, MapSettings(), None, lambda: model, model)
    from steervit.weights.finding import find_parts

    with as_user_errors():
        parts = find_parts(model, trunk=trunk, text_encoder=text_encoder)
        used = {"checkpoint": parts.path, "trunk": parts.trunk, "text": parts.text}
        hashes = {part: file_hash(_weights(path)) for part, path in used.items()}
    folder = parts.path if parts.path.is_dir() else parts.path.parent
    side = parts.checkpoint.config["vision_encoder"]["resolution"]

    def load() -> SteerViT:
        from steervit.weights.loading import load_parts

        with as_user_errors():
            return load_parts(parts, Path(str(model)).stem)

    return FoundModel(_record(model, hashes, folder), (side, side), *read_defaults(folder), load)


def _hashes_of(model: SteerViT) -> dict[str, str]:
    """A model in memory is told from others by what it was trained to: steering layers, connector and head."""
    from steervit.weights.loading import trained_state

    digest = hashlib.sha256()
    for name, tensor in sorted(trained_state(model).items()):
        digest.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return {"in memory": digest.hexdigest()}


def _weights(path: Path) -> Path:
    if not path.is_dir():
        return path
    return next(
        (path / n for n in ("model.safetensors", "pytorch_model.bin") if (path / n).is_file()),
        path / "model.safetensors",
    )


def _record(model: str | Path, hashes: dict[str, str], folder: Path) -> ModelRecord:
    from steervit.weights.catalogue import find, is_name

    card_file = folder / "MODEL_CARD.md"
    card = card_file.read_text(encoding="utf-8") if card_file.is_file() else ""
    if not is_name(model) and Path(model).expanduser().exists():
        own = Path(model)
        return ModelRecord(own.stem, f"a checkpoint of your own, {own.name}", "its owner's", hashes, card)
    known = find(str(model))
    return ModelRecord(known.name, known.about, known.licence, hashes, card)
