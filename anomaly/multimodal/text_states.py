"""What a language model makes of a concept's sentences: its hidden states at the target words and elsewhere.

Knows no vision. Letters: n tokens of targets, m other tokens, D the model's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.multimodal.concepts import Concept
from steervit.inference.directions import SparseAutoencoder, mean_shift, probe_direction, unit
from steervit.inference.vectors import SteeringVector

METHODS = ("mean-shift", "probe", "sae")


@dataclass(frozen=True)
class TextStates:
    """Per decoder layer (0 is the first): the targets' states (n, D) and those of the other tokens (m, D)."""

    target: dict[int, Tensor]
    rest: dict[int, Tensor]


def load_text_model(path: str | Path, dtype: str = "float32") -> tuple[Any, Any]:
    """A language model's backbone and its tokenizer from a folder or the hub's cache; executes no code of theirs.

    Raises `SteerAnomalyError` when either is missing, or the tokenizer does not tell where its tokens lie.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        model = AutoModel.from_pretrained(path, dtype=getattr(torch, dtype), trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise SteerAnomalyError(f"expected a language model at {path}: {error}") from error
    if not tokenizer.is_fast:
        raise SteerAnomalyError(f"expected a fast tokenizer (tokenizer.json) in {path}, got a slow one")
    return model.eval(), tokenizer


@torch.no_grad()
def states_of(model: Any, tokenizer: Any, concept: Concept) -> TextStates:
    """The states after every layer; special tokens (BOS among them) are left out, as in the paper."""
    target: dict[int, list[Tensor]] = {}
    rest: dict[int, list[Tensor]] = {}
    for pair in concept.pairs:
        read = tokenizer(
            pair.sentence, return_tensors="pt", return_offsets_mapping=True, return_special_tokens_mask=True
        )
        start, end = pair.span
        offsets, special = read.pop("offset_mapping")[0], read.pop("special_tokens_mask")[0].bool()
        chosen = (offsets[:, 0] < end) & (offsets[:, 1] > start) & ~special
        states = model(**read, output_hidden_states=True).hidden_states[1:]
        for layer, state in enumerate(states):
            target.setdefault(layer, []).append(state[0, chosen].float())
            rest.setdefault(layer, []).append(state[0, ~chosen & ~special].float())
    joined = [{layer: torch.cat(parts) for layer, parts in one.items()} for one in (target, rest)]
    return TextStates(*joined)


def vector_of(
    states: TextStates,
    layers: list[int],
    method: str = "mean-shift",
    normalised: bool = False,
    autoencoders: dict[int, SparseAutoencoder] | None = None,
    features: dict[int, list[int]] | None = None,
) -> SteeringVector:
    """One direction for each of `layers`; `normalised` to length 1, which probes and features have anyway.

    "sae" needs an autoencoder for each layer; `features` are its ids by layer, otherwise those that fire most more at
    the targets. Raises `SteerAnomalyError` for a layer that is not there, or no autoencoder.
    """
    if outside := [one for one in layers if one not in states.target]:
        raise SteerAnomalyError(f"expected layers from 0 to {max(states.target)}, got {outside[0]}")
    if method not in METHODS:
        raise SteerAnomalyError(f"expected a method of {', '.join(METHODS)}, got {method!r}")
    found = {}
    for layer in layers:
        target, rest = states.target[layer], states.rest[layer]
        if method == "mean-shift":
            shift = mean_shift(target, rest)
            found[layer] = unit(shift) if normalised else shift
        elif method == "probe":
            found[layer] = probe_direction(target, rest)
        else:
            sae = (autoencoders or {}).get(layer)
            if sae is None:
                raise SteerAnomalyError(
                    f"expected a sparse autoencoder for layer {layer}; give it with --sae"
                )
            ids = (features or {}).get(layer) or sae.of_concept(target, rest)
            if not ids:
                raise SteerAnomalyError(
                    f"no feature of layer {layer}'s autoencoder fires more at the targets"
                )
            found[layer] = sae.direction(ids)
    return SteeringVector(found, provenance={"kind": "decoder", "method": method, "normalised": normalised})
