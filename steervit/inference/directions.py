"""Directions in a model's activations that stand for a concept (arXiv 2505.14071, section 3).

Three ways from activations with the concept and without to one vector. Knows neither what the activations are of
nor where the vector goes. Letters: n and m activations, D their width, F features of a sparse autoencoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

COMPONENTS, EPOCHS, RATE, BATCH = 10, 400, 0.003, 32  # of the probe, as in the paper


def unit(vector: Tensor) -> Tensor:
    """`vector` (D,) at length 1. Raises ValueError for one that has no direction."""
    length = vector.norm()
    if not torch.isfinite(length) or length == 0:
        raise ValueError(
            f"expected activations that differ, got a direction of length {float(length):g}: the two sides are "
            "the same for the model; take others, or another layer"
        )
    return vector / length


def mean_shift(target: Tensor, rest: Tensor) -> Tensor:
    """Mean of `target` (n, D) minus mean of `rest` (m, D), in the activations' own units -> (D,)."""
    _check(target, rest)
    return target.float().mean(0) - rest.float().mean(0)


def probe_direction(target: Tensor, rest: Tensor, components: int = COMPONENTS, seed: int = 0) -> Tensor:
    """The normal of a linear probe between `target` (n, D) and `rest` (m, D), length 1 -> (D,).

    The probe sees the first principal components of both together, has no bias, and is fitted by SGD on the binary
    cross-entropy. It points to `target`.
    """
    _check(target, rest)
    both = torch.cat([target, rest]).float()
    centred = both - both.mean(0)
    basis = torch.linalg.svd(centred, full_matrices=False).Vh[:components]  # (components, D)
    labels = torch.cat([torch.ones(len(target)), torch.zeros(len(rest))])
    weight = _fit_probe(centred @ basis.T, labels, seed)
    return unit(weight @ basis)


def _fit_probe(inputs: Tensor, labels: Tensor, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    probe = nn.Linear(inputs.shape[1], 1, bias=False)
    nn.init.zeros_(probe.weight)
    optim = torch.optim.SGD(probe.parameters(), lr=RATE)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(inputs), generator=draw).split(BATCH):
                optim.zero_grad()
                F.binary_cross_entropy_with_logits(probe(inputs[batch])[:, 0], labels[batch]).backward()
                optim.step()
    return probe.weight.detach()[0]


def _check(target: Tensor, rest: Tensor) -> None:
    if (
        target.ndim != 2
        or rest.ndim != 2
        or not len(target)
        or not len(rest)
        or target.shape[1] != rest.shape[1]
    ):
        raise ValueError(
            f"expected activations (n, D) and (m, D), got {tuple(target.shape)} and {tuple(rest.shape)}"
        )
    if not (torch.isfinite(target).all() and torch.isfinite(rest).all()):
        raise ValueError("expected finite activations, got some that are not; use float32 or another layer")


@dataclass(frozen=True)
class SparseAutoencoder:
    """A JumpReLU autoencoder of a layer's activations: z = relu-above-threshold(x W_enc + b_enc), (…, F)."""

    encoder: Tensor  # (D, F)
    encoder_bias: Tensor  # (F,)
    decoder: Tensor  # (F, D)
    threshold: Tensor  # (F,)

    def features(self, x: Tensor) -> Tensor:
        """Activations x (…, D) -> features (…, F), 0 where not above their threshold."""
        before = x.float() @ self.encoder + self.encoder_bias
        return before * (before > self.threshold)

    def direction(self, ids: Sequence[int]) -> Tensor:
        """The mean of the decoder's unit directions of the features `ids`, length 1 -> (D,).

        Raises ValueError for no id, and for one that the autoencoder does not have.
        """
        if not ids:
            raise ValueError("expected at least one feature id, got none")
        if outside := [one for one in ids if not 0 <= one < len(self.decoder)]:
            raise ValueError(f"expected feature ids from 0 to {len(self.decoder) - 1}, got {outside[0]}")
        return unit(F.normalize(self.decoder[list(ids)], dim=-1).mean(0))

    def of_concept(self, target: Tensor, rest: Tensor, count: int = 10) -> list[int]:
        """The `count` features that fire most more for `target` (n, D) than for `rest` (m, D), most first.

        Stands in for the paper's choice by a language model, for which a file of ids can be given.
        """
        _check(target, rest)
        more = self.features(target).mean(0) - self.features(rest).mean(0)
        best = more.argsort(descending=True, stable=True)[:count]
        return [int(one) for one in best if more[one] > 0]


def load_autoencoder(path: str | Path) -> SparseAutoencoder:
    """Read Gemma Scope's `params.npz` or Llama Scope's safetensors (`hyperparams.json` beside it, or above it).

    Executes nothing from the file. Raises ValueError that says what is missing.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: torch.from_numpy(stored[name]).float() for name in stored.files}
        except (OSError, ValueError) as error:
            raise ValueError(f"expected the arrays of a sparse autoencoder in {path}: {error}") from error
        return _made(arrays, ("W_enc", "b_enc", "W_dec", "threshold"), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = {name: one.float() for name, one in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"expected an .npz or .safetensors file of a sparse autoencoder at {path}: {error}"
        ) from error
    for name in ("encoder.weight", "decoder.weight"):
        if name in found:
            found[name] = found[name].T.contiguous()  # stored as (out, in)
    if "threshold" not in found and "encoder.bias" in found:
        found["threshold"] = torch.full_like(found["encoder.bias"], _jump(path))
    return _made(found, ("encoder.weight", "encoder.bias", "decoder.weight", "threshold"), path)


def _jump(path: Path) -> float:
    for folder in (path.parent, path.parent.parent):
        if (folder / "hyperparams.json").is_file():
            return float(json.loads((folder / "hyperparams.json").read_text())["jump_relu_threshold"])
    return 0.0


def _made(arrays: dict[str, Tensor], names: tuple[str, str, str, str], path: Path) -> SparseAutoencoder:
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"expected {', '.join(names)} in {path}; {missing[0]} is missing")
    encoder, bias, decoder, threshold = (arrays[name] for name in names)
    if encoder.shape != decoder.shape[::-1] or bias.shape != threshold.shape != decoder.shape[:1]:
        raise ValueError(
            f"expected an encoder (D, F) and a decoder (F, D) in {path}, got {tuple(encoder.shape)} and "
            f"{tuple(decoder.shape)}"
        )
    return SparseAutoencoder(encoder, bias, decoder, threshold)
