"""The frozen vision trunk: any timm `VisionTransformer`, used as it is.

timm's modules are called, never altered: the caller runs the blocks one by one and puts its own layers
between them. Letters: B images, N tokens (prefix tokens first), D width, H heads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steervit.nano import hybrid
from steervit.nano.trunk import Described, nano_trunk


def build_trunk(vision: dict) -> Any:
    """An untrained trunk from the `vision_encoder` part of a checkpoint's config.

    `model_name` is a timm name, created at `resolution` pixels, or `steervit_nano` or `steervit_nano_hybrid`
    with its sizes under `trunk`. Raises ValueError for names timm does not know or that are no vision transformer.
    """
    name = vision["model_name"]
    if name == "steervit_nano":
        return nano_trunk(image_size=vision["resolution"], **vision["trunk"])
    if name == "steervit_nano_hybrid":
        return hybrid.hybrid_trunk(image_size=vision["resolution"], **vision["trunk"])
    import timm  # a second: nano goes without
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name.split(".")[0]):
        raise ValueError(
            f"expected a timm model name as trunk, got {name!r}; `timm.list_models()` names them"
        )
    trunk = timm.create_model(name, pretrained=False, img_size=vision["resolution"])
    if not isinstance(trunk, VisionTransformer):
        raise ValueError(f"expected a timm VisionTransformer as trunk, {name!r} is a {type(trunk).__name__}")
    return trunk


def load_trunk(trunk: Any, path: str | Path) -> Any:
    """Load a timm state dict (.safetensors, or .pth/.bin read without executing code) into `trunk`.

    Position embeddings of another size are resampled, as timm does. Raises ValueError naming missing keys.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    position = state.get("pos_embed")
    if (
        not hasattr(trunk.patch_embed, "describe")
        or position is None
        or position.shape != trunk.pos_embed.shape
    ):
        from timm.models.vision_transformer import checkpoint_filter_fn

        state = checkpoint_filter_fn(state, trunk)
    missing, _ = trunk.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.startswith(("head.", "attn_pool.", "fc_norm.", hybrid.PART))]
    if missing:
        raise ValueError(
            f"expected the weights of a {trunk.embed_dim}-wide trunk of {len(trunk.blocks)} blocks in {path}; "
            f"{len(missing)} are missing, the first is {missing[0]!r}. Give the trunk the checkpoint was trained on"
        )
    return trunk


def without_pooling(trunk: Any) -> Any:
    """Drop the classifier and the attention pooling, which no steered output uses."""
    trunk.reset_classifier(0, global_pool="")
    return trunk


def embed(trunk: Any, images: Tensor) -> Tensor:
    """Images (B, 3, S, S), normalised -> the tokens that enter the first block, (B, N, D).

    Images are taken to the trunk's precision, except for nano, whose filters need float32.
    """
    return describe(trunk, images)[0]


def describe(trunk: Any, images: Tensor) -> tuple[Tensor, Described | None]:
    """As `embed`; with it what the trunk's patch embedding says of each patch, None where it says nothing.

    A patch embedding that describes its patches has a method `describe(images) -> (tokens, Described)`.
    """
    described = None
    if hasattr(trunk.patch_embed, "describe"):
        x, described = trunk.patch_embed.describe(images)
    else:
        x = trunk.patch_embed(images.to(trunk.blocks[0].norm1.weight.dtype))
    x = trunk._pos_embed(x)
    return trunk.norm_pre(trunk.patch_drop(x)), described


def cls_attention(block: Any, x: Tensor) -> Tensor:
    """Attention of the CLS token to every token in `block`, whose input is x (B, N, D) -> (B, H, N)."""
    attn = block.attn
    queries, keys, _ = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1)).unbind(2)
    queries = attn.q_norm(queries[:, :1].transpose(1, 2)) * attn.scale  # (B, H, 1, K)
    keys = attn.k_norm(keys.transpose(1, 2))  # (B, H, N, K)
    return (queries @ keys.transpose(-2, -1)).softmax(-1).squeeze(2)
