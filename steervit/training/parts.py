"""Builds the model that a recipe names: trunk, text tower and untrained steering layers.

Pretrained parts come from the hub or from files; random ones (nano, smoke, tests) from the recipe's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steervit import hub
from steervit.loading import build
from steervit.model import SteerViT
from steervit.nano_trunk import WhitenedPatchEmbed
from steervit.text import TextEncoder
from steervit.training.recipe import ModelSettings, Recipe
from steervit.trunk import load_trunk, without_pooling

TEXT_SIZES = {"width": 96, "layers": 2, "heads": 4, "vocabulary": 2048, "sentences": 2000}
KNOWN_TEXT = {  # sizes as published: (width, layers, heads), vocabulary 50265, 514 positions
    "roberta-base": (768, 12, 12),
    "roberta-large": (1024, 24, 16),
}


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
    text = _text_encoder(recipe.model, folder / "text", expressions)
    model = new_model(recipe, text)
    weights = recipe.model.trunk_weights
    if weights != "random":
        path = hub.trunk_path(recipe.model.trunk, False) if weights == "hub" else Path(weights).expanduser()
        load_trunk(model.trunk, path)
    without_pooling(model.trunk)
    return model


def count_model(recipe: Recipe) -> SteerViT:
    """The recipe's model as shapes without content, for counting; needs no file."""
    from transformers import RobertaModel

    with torch.device("meta"):
        settings = recipe.model
        tower = RobertaModel(_roberta_config(settings), add_pooling_layer=False)
        model = new_model(recipe, TextEncoder(None, tower))
        without_pooling(model.trunk)
    return model


def calibrate(model: SteerViT, pixels: Iterable[torch.Tensor]) -> None:
    """Measure, once, the scale of nano's fixed filters on images (3, S, S); other trunks need nothing."""
    embed = model.trunk.patch_embed
    if not isinstance(embed, WhitenedPatchEmbed):
        return
    features = torch.cat([embed.features(image[None]).flatten(0, 1) for image in pixels])
    embed.mean.copy_(features.mean(0))
    embed.std.copy_(features.std(0) + 1e-3)


def _text_encoder(
    settings: ModelSettings, folder: Path, expressions: Callable[[int], Iterable[str]]
) -> TextEncoder:
    if settings.text_weights == "hub":
        return TextEncoder.from_folder(hub.text_encoder_path(settings.text_encoder, False), local_only=True)
    if settings.text_weights != "random":
        return TextEncoder.from_folder(Path(settings.text_weights).expanduser(), local_only=True)
    from transformers import RobertaModel, RobertaTokenizer

    from steervit.training.nano import train_tokenizer

    if not (folder / "vocab.json").exists():
        sizes = _sizes(settings)
        train_tokenizer(list(expressions(sizes["sentences"])), folder, sizes["vocabulary"])
    tokenizer = RobertaTokenizer.from_pretrained(str(folder))
    model = RobertaModel(_roberta_config(settings, len(tokenizer)), add_pooling_layer=False)
    return TextEncoder(tokenizer, model)


def _roberta_config(settings: ModelSettings, vocabulary: int | None = None) -> Any:
    from transformers import RobertaConfig

    known = KNOWN_TEXT.get(settings.text_encoder.split("/")[-1])
    if settings.text_weights != "random" and known:
        width, layers, heads = known
        more: dict[str, Any] = {
            "vocab_size": 50265,
            "intermediate_size": 4 * width,
            "max_position_embeddings": 514,
        }
    else:
        sizes = _sizes(settings)
        width, layers, heads = sizes["width"], sizes["layers"], sizes["heads"]
        more = {
            "vocab_size": vocabulary or sizes["vocabulary"],
            "intermediate_size": 2 * width,
            "max_position_embeddings": 130,
        }
    return RobertaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, type_vocab_size=1, **more
    )


def _sizes(settings: ModelSettings) -> dict[str, int]:
    if unknown := sorted(set(settings.text_sizes) - set(TEXT_SIZES)):
        raise ValueError(
            f"unknown key model.text_sizes.{unknown[0]} in the recipe; known here: {', '.join(TEXT_SIZES)}"
        )
    return {**TEXT_SIZES, **settings.text_sizes}
