"""The text tower of a recipe: from the hub, from a folder, or random with a vocabulary learned from sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from steervit.modeling.text import TextEncoder
from steervit.training.recipe import ModelSettings
from steervit.weights import hub

TEXT_SIZES = {"width": 96, "layers": 2, "heads": 4, "vocabulary": 2048, "sentences": 2000}
KNOWN_TEXT = {  # sizes as published: (width, layers, heads), vocabulary 50265, 514 positions
    "roberta-base": (768, 12, 12),
    "roberta-large": (1024, 24, 16),
}


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
