"""A steering vector at a decoder layer of a multimodal language model, while it reads picture and question.

The output of one layer gets alpha times the vector on image tokens, text tokens, or both (arXiv 2505.14071); once,
at the prefill, and the model is left as it was. Letters: B questions, N tokens, D the decoder's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from anomaly.errors import SteerAnomalyError

PLACES = ("image", "text", "both")


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder's layers of a PaliGemma, Gemma 3 or Idefics3 model for conditional generation.

    Raises `SteerAnomalyError` for models that keep them elsewhere.
    """
    inner = getattr(model, "model", model)
    for name in ("language_model", "text_model"):
        decoder = getattr(inner, name, None)
        if decoder is not None and isinstance(getattr(decoder, "layers", None), nn.ModuleList):
            return decoder.layers
    raise SteerAnomalyError(
        "expected a multimodal model with its decoder layers below model.language_model or model.text_model "
        f"(PaliGemma, Gemma 3, Idefics3), got a {type(model).__name__}"
    )


def steered_tokens(
    ids: Tensor, image_id: int, special: set[int], on: str, mask: Tensor | None = None
) -> Tensor:
    """Which of the tokens `ids` (B, N) get the vector -> (B, N) bool.

    "image": the picture's tokens. "text": all others but special ones and the last, which predicts the answer.
    "both": either. Tokens that `mask` (B, N) says are padding get nothing.
    """
    if on not in PLACES:
        raise SteerAnomalyError(f"expected image, text or both, got {on!r}")
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    image = (ids == image_id) & real
    if on == "image":
        return image
    text = ~image & real
    for one in special:
        text &= ids != one
    last = real.int().cumsum(1).argmax(1)
    text[torch.arange(len(ids)), last] = False
    return text if on == "text" else text | image


@contextmanager
def steered(model: Any, layer: int, vector: Tensor, alpha: float, tokens: Tensor) -> Iterator[None]:
    """While inside, the first pass of `model` has `alpha` times `vector` (D,) on `tokens` (B, N) after `layer`.

    The model is as before once that pass is over, or the block is left. Alpha 0 touches nothing. Raises
    `SteerAnomalyError` for a layer or width that the model does not have.
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise SteerAnomalyError(f"expected a layer from 0 to {len(layers) - 1}, got {layer}")
    width = next(layers[layer].parameters()).shape[-1]
    if vector.shape != (width,):
        raise SteerAnomalyError(
            f"expected a vector of width {width} for {type(model).__name__}, got {tuple(vector.shape)}: it was made "
            "with another language model than this one's backbone"
        )
    if alpha == 0:
        yield
        return

    def add(module: nn.Module, inputs: Any, output: Any) -> Any:
        handle.remove()  # the prefill only; generated tokens are read as ever
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[:2] != tokens.shape:
            raise SteerAnomalyError(
                f"expected the first pass over {tuple(tokens.shape)} tokens, got {tuple(states.shape[:2])}"
            )
        moved = states + (alpha * vector).to(states) * tokens.to(states.device)[..., None].to(states.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = layers[layer].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def answer(
    model: Any,
    inputs: Any,
    vector: Tensor | None = None,
    layer: int = 0,
    alpha: float = 0.0,
    on: str = "image",
    special: set[int] | None = None,
    max_new_tokens: int = 10,
) -> Tensor:
    """The tokens that `model` says after `inputs` (of its processor), by greedy search -> (B, up to max_new_tokens)."""
    ids = inputs["input_ids"]
    arguments = {"max_new_tokens": max_new_tokens, "do_sample": False}
    if vector is None:
        return model.generate(**inputs, **arguments)[:, ids.shape[1] :]
    tokens = steered_tokens(
        ids, model.config.image_token_id, special or set(), on, inputs.get("attention_mask")
    )
    with steered(model, layer, vector, alpha, tokens):
        return model.generate(**inputs, **arguments)[:, ids.shape[1] :]
