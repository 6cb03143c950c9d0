"""The frozen text tower: RoBERTa token features, each of unit length (paper, section 3).

It knows token ids and sentences; it has never heard of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steervit.modeling.roberta import read_tower

MAX_TOKENS = 512


class TextEncoder(nn.Module):
    """A RoBERTa model with its tokenizer. Always in eval mode and never trained by SteerViT itself."""

    model: Any

    def __init__(self, tokenizer: Any, model: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)

    @classmethod
    def from_folder(cls, name_or_folder: str | Path, local_only: bool = False) -> TextEncoder:
        """Load from a local folder in the Hugging Face layout, or by hub name.

        Raises OSError, as transformers does, when the files are neither here nor reachable.
        """
        if (found := read_tower(Path(name_or_folder))) is not None:
            return cls(*found)
        from transformers import RobertaModel, RobertaTokenizer

        name = str(name_or_folder)
        tokenizer = RobertaTokenizer.from_pretrained(name, local_files_only=local_only)
        with _quiet():
            model = RobertaModel.from_pretrained(name, add_pooling_layer=False, local_files_only=local_only)
        return cls(tokenizer, model)

    @property
    def dim(self) -> int:
        """Width of a text token."""
        return self.model.config.hidden_size

    def train(self, mode: bool = True) -> TextEncoder:
        """Frozen means frozen: dropout stays off whatever the mode of the model around it."""
        return super().train(False)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences (P) -> unit-length token features (P, L, d_t) and the mask (P, L), True for real tokens."""
        limit = min(MAX_TOKENS, self.model.config.max_position_embeddings - 2)
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt"
        )
        device = next(self.model.parameters()).device
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        with torch.no_grad():
            features = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return F.normalize(features, dim=-1), mask.bool()


@contextmanager
def _quiet() -> Iterator[None]:
    # A bar for a local file and a report on the pooler, which nothing here uses, are noise to our users.
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
