"""CLIP and SigLIP of transformers, tiny and random, saved as a folder that `--model` takes."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("a", "photo", "of", "the", "anomaly", "in", "bottle", "defect", "flawless", "dog", "hazelnut")
VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TEXT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 16,
    "max_position_embeddings": 12, "bos_token_id": 14, "eos_token_id": 15, "pad_token_id": 13,
}  # fmt: skip


def clip(folder: Path) -> Path:
    """4 x 4 patches of 8 px, a CLS token, projections to 8 channels."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return tokenizer(folder)


def siglip(folder: Path) -> Path:
    """4 x 4 patches of 8 px, no CLS token, a pooling head."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    text = {**TEXT, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return tokenizer(folder)


def tokenizer(folder: Path) -> Path:
    """Words to numbers, with a first and a last token."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*WORDS, "[UNK]"))}
    vocabulary |= {"[PAD]": 13, "[BOS]": 14, "[EOS]": 15}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 14), ("[EOS]", 15)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=12, **names).save_pretrained(folder)
    return folder
