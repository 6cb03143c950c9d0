"""RoBERTa for reading alone: transformers' `RobertaModel` without its pooler, name by name, and its tokenizer.

transformers' own takes more than a second to import. Same weights, same answers; a folder that this does not read
is left to transformers (`text.TextEncoder`). Source: Liu et al. 2019 (arXiv 1907.11692), and transformers' code.
Letters: P sentences, L tokens, D width, H heads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
PLAIN = {"model_type": "roberta", "hidden_act": "gelu", "is_decoder": False, "add_cross_attention": False}
PREFIX = "roberta."  # of a file that holds a language model


class Config:
    """A tower's `config.json`, its values as attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})
        if name not in values:
            raise AttributeError(name)
        return values[name]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write it to `folder`."""
        Path(folder, "config.json").write_text(json.dumps(self._values, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Read:
    """What the tower says of sentences: `last_hidden_state` (P, L, D)."""

    last_hidden_state: Tensor


class Tokenizer:
    """A `tokenizer.json`: sentences to ids, as transformers' tokenizers are called."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Fast

        self._folder, self._fast = folder, Fast.from_file(str(folder / "tokenizer.json"))
        self._fast.no_padding()
        self._pad: int = self._fast.token_to_id("<pad>") or 0

    def __call__(self, texts: Sequence[str], max_length: int | None = None, **_: Any) -> dict[str, Tensor]:
        """Sentences (P) -> `input_ids` and `attention_mask`, (P, L), cut at `max_length` and padded to the longest."""
        if max_length is not None:
            self._fast.enable_truncation(max_length)
        found = [one.ids for one in self._fast.encode_batch(list(texts))]
        longest = max(map(len, found), default=0)
        ids = [one + [self._pad] * (longest - len(one)) for one in found]
        mask = [[1] * len(one) + [0] * (longest - len(one)) for one in found]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    def __len__(self) -> int:
        return self._fast.get_vocab_size()

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        return self._fast.get_vocab()

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy its files to `folder`."""
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(self._folder / name, Path(folder, name))


class Embeddings(nn.Module):
    """Ids to vectors: word, place and kind, summed and normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.padding = config.hidden_size, config.pad_token_id
        self.word_embeddings = _table(config.vocab_size, width, self.padding)
        self.token_type_embeddings = _table(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.position_embeddings = _table(config.max_position_embeddings, width, self.padding)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (P, L) -> (P, L, D)."""
        real = ids.ne(self.padding).int()
        places = (torch.cumsum(real, 1).type_as(real) * real).long() + self.padding
        x = self.word_embeddings(ids) + self.token_type_embeddings(torch.zeros_like(ids))
        return self.LayerNorm(x + self.position_embeddings(places))


def _table(count: int, width: int, padding: int | None = None) -> nn.Embedding:
    # Given its weights, it draws none: on the device without content that imports torch's compiler.
    return nn.Embedding(count, width, padding, _weight=torch.empty(count, width))


class SelfAttention(nn.Module):
    """Queries, keys and values of one layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(P, L, D) -> (P, L, D); `mask` (P, 1, L, L) bool, None where every token is real."""
        queries, keys, values = (
            one(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for one in (self.query, self.key, self.value)
        )
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return out.transpose(1, 2).flatten(2)


class Output(nn.Module):
    """A linear layer, added to what came before, normalised."""

    def __init__(self, inner: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inner, width), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """x (P, L, inner), before (P, L, D) -> (P, L, D)."""
        return self.LayerNorm(self.dense(x) + before)


class Layer(nn.Module):
    """Attention, then the feed-forward part."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(width, config.num_attention_heads), "output": Output(width, width, eps)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Output(inner, width, eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(P, L, D) -> (P, L, D)."""
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Roberta(nn.Module):
    """The tower, without weights until they are loaded."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Read:
        """Ids and mask (P, L), 1 for real tokens -> `Read`."""
        x, real = self.embeddings(input_ids), attention_mask.bool()
        mask = None if bool(real.all()) else real[:, None, None, :].expand(-1, 1, real.shape[1], -1)
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = layer(x, mask)
        return Read(x)


def read_tower(folder: Path) -> tuple[Tokenizer, Roberta] | None:
    """Tokenizer and tower in `folder`; None where it holds another layout or another kind of tower."""
    if not all((folder / name).is_file() for name in FILES):
        return None
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if any(values.get(name, plain) != plain for name, plain in PLAIN.items()) or "vocab_size" not in values:
        return None
    from safetensors.torch import load_file

    state = {name.removeprefix(PREFIX): one for name, one in load_file(folder / "model.safetensors").items()}
    with torch.device("meta"):
        model = Roberta(Config(values))
    wanted = model.state_dict().keys()
    if not wanted <= state.keys():
        return None
    kind = getattr(torch, str(values.get("dtype") or values.get("torch_dtype") or "float32"))
    model.load_state_dict({name: state[name].to(kind) for name in wanted}, assign=True)
    return Tokenizer(folder), model
