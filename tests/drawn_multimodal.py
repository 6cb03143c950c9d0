"""Tiny multimodal models of the real classes with random weights, and one built so that a vector turns its answer."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    GemmaConfig,
    GemmaModel,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "<image>", "\n", "A", "B", "(", ")", "is", "it", "the", "what"]
WIDTH, IMAGE = 16, 4  # id of <image>


def tokenizer(words=WORDS):
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", words.index("<bos>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        additional_special_tokens=["<image>"], padding_side="left",
    )  # fmt: skip


def text_config(kind, words):
    return kind(
        vocab_size=words, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def paligemma():
    torch.manual_seed(0)
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": WIDTH,
    }  # fmt: skip
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text_config(GemmaConfig, len(WORDS)).to_dict(), image_token_index=IMAGE,
        projection_dim=WIDTH, hidden_size=WIDTH, vocab_size=len(WORDS),
    )  # fmt: skip
    return PaliGemmaForConditionalGeneration(config).eval()


def idefics3():
    torch.manual_seed(0)
    vision = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    config = Idefics3Config(
        vision_config=vision,
        text_config=text_config(LlamaConfig, len(WORDS)).to_dict(),
        image_token_id=IMAGE,
        scale_factor=2,
    )
    return Idefics3ForConditionalGeneration(config).eval()


def processor():
    images = SiglipImageProcessor(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    return PaliGemmaProcessor(images, tokenizer())


def gemma(words):
    torch.manual_seed(1)
    return GemmaModel(text_config(GemmaConfig, len(words))).eval()


def turnable():
    """A PaliGemma whose last layer spreads its tokens evenly and adds nothing else, and the vector towards "B".

    Decoder layers 0 and 1 do nothing. In layer 2 every token gets the mean of all tokens (queries and keys 0, values
    and outputs the identity on half the width), so a vector on the image tokens arrives at the last one.
    """
    model = paligemma()
    decoder = model.model.language_model
    with torch.no_grad():
        for layer in decoder.layers:
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.o_proj.weight.zero_()
        last = decoder.layers[2].self_attn
        last.q_proj.weight.zero_()
        last.k_proj.weight.zero_()
        last.v_proj.weight.copy_(torch.eye(8, WIDTH))
        last.o_proj.weight.copy_(torch.eye(WIDTH))  # head 0 gives the first half
        rows = torch.zeros(len(WORDS), WIDTH)
        rows[WORDS.index("A"), 0] = rows[WORDS.index("B"), 1] = 1.0
        rows[:, 15] = 0.1  # what every token is, of no use to any answer
        rows[WORDS.index("it"), 0] = 0.2  # the question ends with it: the answer is A
        decoder.embed_tokens.weight.copy_(rows)
        head = torch.zeros(len(WORDS), WIDTH)
        head[WORDS.index("A"), 0] = head[WORDS.index("B"), 1] = 1.0
        model.lm_head.weight = torch.nn.Parameter(head)
    return model, torch.eye(WIDTH)[1]
