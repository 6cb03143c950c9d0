"""Builds the model that a recipe names: trunk, text tower and untrained steering layers.

Pretrained parts come from the hub or from files; random ones (nano, smoke, tests) from the recipe's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steervit.modeling.model import SteerViT
from steervit.modeling.text import TextEncoder
from steervit.modeling.trunk import load_trunk, without_pooling
from steervit.nano.trunk import WhitenedPatchEmbed
from steervit.training.recipe import Recipe
from steervit.training.text_tower import prepare_text, roberta_config
from steervit.weights import hub
from steervit.weights.loading import build


def config_of(recipe: Recipe) -> dict[str, Any]:
    """The checkpoint config of a recipe's model, in the published form."""
    model = recipe.model
    vision: dict[str, Any] = {
        "model_name": model.trunk,
        "resolution": model.resolution,
        "feature_aggregation": model.feature_aggregation,
        "cross_attn_layers": list(model.cross_attn_layers),
        "cross_attn_heads": model.cross_attn_heads,
        "cross_attn_head_dim": model.cross_attn_head_dim,
        "use_ffn": model.gated_ffn,
        "cross_attn_ffn_mult": model.ffn_mult,
        "cross_attn_gated": model.gated,
        "fusion": model.fusion,
    }
    if model.trunk_sizes:
        vision["trunk"] = model.trunk_sizes
    text = model.text_encoder if model.text_weights == "hub" else "text"
    return {"name": recipe.name, "vision_encoder": vision, "text_encoder": text, "connector": model.connector}


def new_model(recipe: Recipe, text: TextEncoder | None, text_dim: int | None = None) -> SteerViT:
    """The recipe's model, its steering layers untrained and its trunk random."""
    model = build(config_of(recipe), text, text_dim)
    settings = recipe.model
    if settings.head_init_std:
        nn.init.normal_(model.head.weight, std=settings.head_init_std)
    nn.init.constant_(model.head.bias, settings.head_init_bias)
    for layer in model.cross_attention.values():
        if layer.gated:
            nn.init.constant_(layer.attn_gate, settings.gate_init)
    return model


def prepare_model(recipe: Recipe, folder: Path, expressions: Callable[[int], Iterable[str]]) -> SteerViT:
    """The recipe's model ready to train, pretrained parts loaded.

    A random text tower learns its vocabulary from `expressions(count)`, once, kept in `folder`/text. Raises
    ValueError or OSError saying which file is missing.
    """
    torch.manual_seed(recipe.train.seed)
    if recipe.model.start is not None:
        return _started(recipe, Path(recipe.model.start).expanduser())
    text = prepare_text(recipe.model, folder / "text", expressions)
    model = new_model(recipe, text)
    weights = recipe.model.trunk_weights
    if weights != "random":
        path = hub.trunk_path(recipe.model.trunk, False) if weights == "hub" else Path(weights).expanduser()
        load_trunk(model.trunk, path)
    without_pooling(model.trunk)
    return model


def _started(recipe: Recipe, folder: Path) -> SteerViT:
    """The model in `folder`, in float32, if its architecture is the recipe's."""
    model = SteerViT.from_pretrained(folder).float()
    wanted, found = config_of(recipe)["vision_encoder"], model.config["vision_encoder"]
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        key = differing[0]
        raise ValueError(
            f"expected model.start to be a model with the recipe's {key}, {wanted[key]}; "
            f"that in {folder} has {found.get(key)}"
        )
    without_pooling(model.trunk)
    return model


def count_model(recipe: Recipe) -> SteerViT:
    """The recipe's model as shapes without content, for counting; needs no file."""
    from transformers import RobertaModel

    with torch.device("meta"):
        settings = recipe.model
        tower = RobertaModel(roberta_config(settings), add_pooling_layer=False)
        model = new_model(recipe, TextEncoder(None, tower))
        without_pooling(model.trunk)
    return model


def calibrate(model: SteerViT, features: Iterable[torch.Tensor]) -> None:
    """Set, once, the scale of nano's fixed filters from patch features (N, F) of images; others need nothing."""
    embed = model.trunk.patch_embed
    if not isinstance(embed, WhitenedPatchEmbed):
        return
    measured = torch.cat([one.float() for one in features])
    embed.mean.copy_(measured.mean(0))
    embed.std.copy_(measured.std(0) + 1e-3)
