"""A multimodal language model with its processor, from a folder or the hub's cache, and how it answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.multimodal.cv_bench import Question, letter
from anomaly.multimodal.decoder import answer, decoder_layers


@dataclass(frozen=True)
class Answering:
    """A model for conditional generation and its processor: PaliGemma, Gemma 3, Idefics3."""

    model: Any
    processor: Any

    def ask(
        self,
        image: Image,
        text: str,
        vector: Tensor | None = None,
        layer: int = 0,
        alpha: float = 0.0,
        on: str = "image",
    ) -> str:
        """What the model says to `text` about `image`, steered by `alpha` times `vector` (D,) after `layer`."""
        inputs = self.processor(images=image, text=self._with_picture(text), return_tensors="pt").to(
            self.model.device
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        special = set(self.processor.tokenizer.all_special_ids)
        said = answer(self.model, inputs, vector, layer, alpha, on, special)
        return self.processor.tokenizer.decode(said[0], skip_special_tokens=True).strip()

    def accuracy(
        self, questions: Sequence[Question], vector: Tensor | None, layer: int, alpha: float, on: str
    ) -> tuple[float, int]:
        """Share (0..1) of `questions` answered rightly, and how many there are; no choice named counts as wrong."""
        right = [
            letter(self.ask(one.picture(), one.prompt, vector, layer, alpha, on), one.choices) == one.answer
            for one in questions
        ]
        return sum(right) / len(right), len(right)

    def _with_picture(self, text: str) -> str:
        # PaliGemma reads the picture first; models that chat say themselves where it goes.
        if self.processor.chat_template is None:
            return f"{getattr(self.processor, 'image_token', '<image>')}{text}"
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )


def load_answering(path: str | Path, dtype: str = "float32") -> Answering:
    """Load model and processor; executes no code of theirs.

    Raises `SteerAnomalyError` when they are not there, or the model keeps its decoder elsewhere.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        model = AutoModelForImageTextToText.from_pretrained(
            path, dtype=getattr(torch, dtype), trust_remote_code=False
        )
        processor = AutoProcessor.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise SteerAnomalyError(f"expected a multimodal language model at {path}: {error}") from error
    decoder_layers(model)
    return Answering(model.eval(), processor)
