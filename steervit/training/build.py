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
from steervit.nano import eyes, hybrid
from steervit.training.recipe import ModelSettings, Recipe
from steervit.weights import hub
from steervit.weights.loading import build

FILTERS, HYBRID = "steervit_nano", "steervit_nano_hybrid"  # trunks of ours
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
    if model.trunk == HYBRID:
        vision["eyes_sha256"] = eyes.SHA256
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
    _open_eyes(model)
    without_pooling(model.trunk)
    return model


def _started(recipe: Recipe, folder: Path) -> SteerViT:
    """The model in `folder`, in float32, if its architecture is the recipe's."""
    model = SteerViT.from_pretrained(folder).float()
    wanted, found = config_of(recipe)["vision_encoder"], dict(model.config["vision_encoder"])
    blind = found["model_name"] == FILTERS and wanted["model_name"] == HYBRID
    if blind:
        found |= {key: wanted[key] for key in ("model_name", "eyes_sha256")}
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        key = differing[0]
        raise ValueError(
            f"expected model.start to be a model with the recipe's {key}, {wanted[key]}; "
            f"that in {folder} has {found.get(key)}"
        )
    if blind:
        model = _given_eyes(recipe, model)
    without_pooling(model.trunk)
    return model


def _given_eyes(recipe: Recipe, model: SteerViT) -> SteerViT:
    """A model with the recipe's hybrid trunk that gives what `model`, with filters alone, gives."""
    new = new_model(recipe, model.text_encoder)
    new.load_state_dict(model.state_dict(), strict=False)
    _open_eyes(new)
    return new.eval()


def _open_eyes(model: SteerViT) -> None:
    embed: Any = model.trunk.patch_embed
    if isinstance(embed, hybrid.HybridPatchEmbed):
        embed.load_eyes(eyes.SHA256)


def count_model(recipe: Recipe) -> SteerViT:
    """The recipe's model as shapes without content, for counting; needs no file."""
    from transformers import RobertaModel

    with torch.device("meta"):
        settings = recipe.model
        tower = RobertaModel(roberta_config(settings), add_pooling_layer=False)
        model = new_model(recipe, TextEncoder(None, tower))
        without_pooling(model.trunk)
    return model


def prepare_text(
    settings: ModelSettings, folder: Path, expressions: Callable[[int], Iterable[str]]
) -> TextEncoder:
    """The recipe's text tower. A random one learns its vocabulary from `expressions(count)`, once, kept in
    `folder`. Raises ValueError or OSError saying which file is missing."""
    if settings.text_weights == "hub":
        return TextEncoder.from_folder(hub.text_encoder_path(settings.text_encoder, False), local_only=True)
    if settings.text_weights != "random":
        return TextEncoder.from_folder(Path(settings.text_weights).expanduser(), local_only=True)
    from transformers import RobertaModel, RobertaTokenizer

    if not (folder / "vocab.json").exists():
        sizes = _sizes(settings)
        learn_vocabulary(expressions(sizes["sentences"]), folder, sizes["vocabulary"])
    tokenizer = RobertaTokenizer.from_pretrained(str(folder))
    model = RobertaModel(roberta_config(settings, len(tokenizer)), add_pooling_layer=False)
    return TextEncoder(tokenizer, model)


def learn_vocabulary(texts: Iterable[str], folder: Path, size: int) -> None:
    """Learn a byte-level BPE vocabulary on `texts` and write it in RoBERTa's layout: any string encodes."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(texts, vocab_size=size, min_frequency=3, special_tokens=special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))


def roberta_config(settings: ModelSettings, vocabulary: int | None = None) -> Any:
    """The tower's shape: as published for a known name, else as `text_sizes` says."""
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
