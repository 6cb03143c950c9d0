"""Steering by a vector in place of a sentence: what text changes in a SteerViT, taken once and added again.

The cross-attention adds tanh(omega gate) CA(Z, text) to the tokens before a block; its mean over pictures, with one
sentence minus another, is a vector in the sense of arXiv 2505.14071. Letters: B images, N tokens, D trunk width,
C width of the connector's output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steervit.files import write_whole
from steervit.inference.directions import mean_shift, probe_direction, unit
from steervit.modeling.trunk import embed

if TYPE_CHECKING:
    from steervit.modeling.model import SteerViT

FORMAT, VERSION = "steering-vector", "1"


@dataclass(frozen=True)
class SteeringVector:
    """One direction per place: `layers` (D,) by block number, added to image tokens before that block.

    Numbers from the trunk's depth on are late layers, after the last block. In the decoder of a language model a
    layer's direction is added to its output.

    `text` (C,) is added to the text tokens that the connector gives, if there. `provenance` says what it was made
    of: model and its hash, sentences, pictures, method. Vectors of one model add up, and their sign turns.
    """

    layers: Mapping[int, Tensor]
    text: Tensor | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __add__(self, other: SteeringVector) -> SteeringVector:
        sizes = {one.shape for one in (*self.layers.values(), *other.layers.values())}
        if len(sizes) > 1:
            raise ValueError(f"expected vectors of one model, got widths {sorted(size[0] for size in sizes)}")
        places = sorted({*self.layers, *other.layers})
        layers = {i: sum(one.layers[i] for one in (self, other) if i in one.layers) for i in places}
        texts = [one.text for one in (self, other) if one.text is not None]
        parts = [dict(self.provenance), dict(other.provenance)]
        return SteeringVector(layers, sum(texts) if texts else None, {"sum": parts})  # type: ignore[arg-type]

    def __neg__(self) -> SteeringVector:
        return self * -1.0

    def __mul__(self, alpha: float) -> SteeringVector:
        layers = {i: one * alpha for i, one in self.layers.items()}
        text = None if self.text is None else self.text * alpha
        return SteeringVector(layers, text, {"times": alpha, "of": dict(self.provenance)})

    def only(self, *blocks: int) -> SteeringVector:
        """The same at some of its blocks. Raises ValueError for a block it has no direction for."""
        if missing := [i for i in blocks if i not in self.layers]:
            raise ValueError(f"expected some of the blocks {sorted(self.layers)}, got {missing[0]}")
        return replace(self, layers={i: self.layers[i] for i in blocks})

    def unit(self) -> SteeringVector:
        """The same with every direction at length 1."""
        return replace(self, layers={i: unit(one) for i, one in self.layers.items()})


def save_vector(vector: SteeringVector, path: str | Path) -> None:
    """Write `vector` as one safetensors file, its provenance as JSON in the header. Atomic."""
    from safetensors.torch import save

    tensors = {f"layer.{i}": one.detach().float().cpu().contiguous() for i, one in vector.layers.items()}
    if vector.text is not None:
        tensors["text"] = vector.text.detach().float().cpu().contiguous()
    about = {"format": FORMAT, "version": VERSION, "provenance": json.dumps(dict(vector.provenance))}
    write_whole(Path(path), save(tensors, about))


def load_vector(path: str | Path) -> SteeringVector:
    """Read what `save_vector` wrote. Raises ValueError when it is another file, version, or not finite."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stored:
            about = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError) as error:
        raise ValueError(f"expected a steering vector at {path}, could not read it: {error}") from error
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise ValueError(
            f"expected a steering vector of version {VERSION} at {path}, got {about.get('format', 'another file')} "
            f"{about.get('version', '')}; make it again with `steer-anomaly vectors extract`"
        )
    if not all(torch.isfinite(one).all() for one in tensors.values()):
        raise ValueError(f"expected finite numbers in {path}, got some that are not; make it again")
    layers = {int(name[6:]): one for name, one in tensors.items() if name.startswith("layer.")}
    return SteeringVector(layers, tensors.get("text"), json.loads(about.get("provenance", "{}")))


@torch.no_grad()
def extract_vector(
    model: SteerViT, batches: Sequence[Tensor], anchor: str, control: str | None, method: str = "shift"
) -> SteeringVector:
    """What `anchor` does to the tokens of some pictures that `control` does not; no labels are needed.

    `batches` of images (B, 3, S, S); `control` None is the frozen trunk. `method` "shift": the mean over pictures and
    patches of the cross-attention's change, anchor minus control, in the tokens' own units (equal to the paper's mean
    shift, taken at the layer that makes it); "probe": the normal between the tokens that enter the block, length 1.
    Raises ValueError for another method, no picture, or a model whose text enters nowhere.
    """
    if method not in ("shift", "probe"):
        raise ValueError(f"expected a method of shift or probe, got {method!r}")
    if not batches or not model.cross_attention:
        raise ValueError("expected at least one picture and a model with cross-attention layers")
    sides = [_walk(model, batches, one, changes=method == "shift") for one in (anchor, control)]
    layers = {}
    for i in sides[0]:
        target, rest = sides[0][i], sides[1][i]
        layers[i] = mean_shift(target, rest) if method == "shift" else probe_direction(target, rest)
    text = _text_mean(model, anchor) - (0 if control is None else _text_mean(model, control))
    about = {"model": model.name, "anchor": anchor, "control": control, "method": method,
             "pictures": sum(map(len, batches))}  # fmt: skip
    return SteeringVector(layers, text, about)


def _text_mean(model: SteerViT, sentence: str) -> Tensor:
    text, mask = model.encode_text([sentence])
    return text[0][mask[0]].mean(0)


def _walk(
    model: SteerViT, batches: Sequence[Tensor], sentence: str | None, changes: bool
) -> dict[int, Tensor]:
    # Per place and picture the patches' mean of the change, or of the tokens that enter it: (pictures, D).
    found: dict[int, list[Tensor]] = {}
    prefix = model.trunk.num_prefix_tokens
    for images in batches:
        x = embed(model.trunk, images.to(model.device))
        text = None
        if sentence is not None:
            text, mask = model.encode_text([sentence] * len(images))
            text = text.to(x.dtype)
        for i in sorted({*range(len(model.trunk.blocks)), *model.late_layers()}):
            if str(i) in model.cross_attention:
                before = x
                if text is not None:
                    x = model.cross_attention[str(i)](x, text, mask, model.omega)
                kept = (x - before if changes else x)[:, prefix:].float().mean(1)
                found.setdefault(i, []).append(kept)
            if i < len(model.trunk.blocks):
                x = model.trunk.blocks[i](x)
    return {i: torch.cat(parts) for i, parts in found.items()}


@torch.no_grad()
def encode_by_vector(
    model: SteerViT,
    images: Tensor,
    vector: SteeringVector,
    alpha: float = 1.0,
    texts: Sequence[str] | None = None,
    on: str = "image",
) -> Tensor:
    """Tokens (B, N, D) after the final norm, steered by `alpha` times `vector`, with sentences too if given.

    `on` "image": added to the patch tokens before each of the vector's blocks; "text": to the text tokens, which
    needs `texts`; "both". With `alpha` 0 it is `model(images, texts)`, to the bit. Raises ValueError for a block or
    width that the model does not have.
    """
    if on not in ("image", "text", "both"):
        raise ValueError(f"expected image, text or both, got {on!r}")
    _check_fits(model, vector)
    text = mask = None
    if texts is not None and model.omega != 0:
        text, mask = model.encode_text(texts)
        if on != "image" and vector.text is not None and alpha:
            text = text + alpha * vector.text.to(text)
    elif on != "image":
        raise ValueError("expected sentences to steer, got none; a vector on text tokens needs them")
    layers = vector.layers if on != "text" and alpha else {}
    added = {i: alpha * one for i, one in layers.items()}
    return model.encode_with(images, text, mask, added=added).tokens


def _check_fits(model: SteerViT, vector: SteeringVector) -> None:
    places = {*range(len(model.trunk.blocks)), *model.late_layers()}
    width = model.feature_dim
    for i, one in vector.layers.items():
        if i not in places or one.shape != (width,):
            raise ValueError(
                f"expected directions of width {width} for the places 0 to {max(places)} of {model.name}, got one of "
                f"width {one.shape[-1]} for block {i}: the vector is another model's"
            )
