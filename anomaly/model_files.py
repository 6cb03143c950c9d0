"""Which model is used: loads it and keeps the record that every result carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from anomaly.errors import told
from steervit import SteerViT
from steervit.files import sha256_of
from steervit.weights.catalogue import find, is_name
from steervit.weights.loading import find_files


@dataclass(frozen=True)
class ModelRecord:
    """Name, one sentence about it, licence, and the sha256 of each weights file (by part)."""

    name: str
    about: str
    licence: str
    hashes: dict[str, str] = field(default_factory=dict)
    card: str = ""

    @property
    def weights_sha256(self) -> str | None:
        """The hash of the checkpoint itself; None for a model given in memory."""
        return self.hashes.get("checkpoint")


def load_model(
    model: str | Path | SteerViT, trunk: str | Path | None = None, text_encoder: str | Path | None = None
) -> tuple[SteerViT, ModelRecord]:
    """Load `model` and say what it is. Raises `SteerAnomalyError` naming what is missing and how to get it."""
    if isinstance(model, SteerViT):
        return model, ModelRecord(model.name, "a model given in memory", "its owner's")
    with told():
        loaded = SteerViT.from_pretrained(model, trunk=trunk, text_encoder=text_encoder)
        files = find_files(model)
    used = {
        "checkpoint": _weights(files.checkpoint),
        "trunk": trunk or files.trunk,
        "text": text_encoder or files.text,
    }
    hashes = {part: sha256_of(_weights(Path(path))) for part, path in used.items() if path is not None}
    return loaded, _record(model, hashes, files.checkpoint)


def _weights(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _record(model: str | Path, hashes: dict[str, str], checkpoint: Path) -> ModelRecord:
    card_file = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "MODEL_CARD.md"
    card = card_file.read_text(encoding="utf-8") if card_file.is_file() else ""
    if not is_name(model) and Path(model).expanduser().exists():
        return ModelRecord(
            Path(model).stem, f"a checkpoint of your own, {Path(model).name}", "its owner's", hashes, card
        )
    known = find(str(model))
    return ModelRecord(known.name, known.about, known.licence, hashes, card)
