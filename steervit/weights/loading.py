"""Builds a SteerViT from files: the only place where published names and missing files exist.

A checkpoint holds what was trained (cross-attention, connector, head) and a config; trunk and text tower
come from files given here, from the checkpoint's own folder (nano), or from the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from steervit.modeling.connector import Connector
from steervit.modeling.cross_attention import GatedCrossAttention
from steervit.modeling.model import SteerViT
from steervit.modeling.text import TextEncoder
from steervit.modeling.trunk import build_trunk, load_trunk, without_pooling
from steervit.weights import hub
from steervit.weights.catalogue import is_name
from steervit.weights.checkpoint import Checkpoint, read_checkpoint

TEXT_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
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


def find_files(name_or_path: str | Path, local_only: bool = False) -> hub.ModelPaths:
    """The files of a model by name (downloaded if need be), or of a checkpoint file or folder.

    A name of the list is a name, whatever lies in the working directory (`catalogue.is_name`).
    A folder may carry its trunk (`trunk.safetensors`) and its text tower (`text/`) beside the checkpoint, as
    nano's does. Raises ValueError naming the known models, or FileNotFoundError saying what is missing.
    """
    path = Path(name_or_path).expanduser()
    if is_name(name_or_path) or not path.exists():
        paths = hub.ensure(str(name_or_path), local_only)
        if paths.trunk is not None or paths.checkpoint.is_file():
            return paths
        path = paths.checkpoint
    home = path if path.is_dir() else path.parent
    trunk, text = home / "trunk.safetensors", home / "text"
    return hub.ModelPaths(path, trunk if trunk.is_file() else None, text if text.is_dir() else None)


@dataclass(frozen=True)
class Found:
    """Everything a model is built from, not yet built: its checkpoint as read, and the files of the other parts."""

    checkpoint: Checkpoint
    path: Path
    trunk: Path
    text: Path


def find_parts(name_or_path, *, trunk=None, text_encoder=None, local_only: bool = False) -> Found:
    """The files of every part of a model; `trunk` and `text_encoder` replace what would be taken otherwise.

    Raises as `find_files` does, and ValueError (`CheckpointError`) for a damaged checkpoint.
    """
    files = find_files(name_or_path, local_only)
    checkpoint = read_checkpoint(files.checkpoint)
    config = checkpoint.config
    text = text_encoder or files.text or hub.text_encoder_path(config["text_encoder"], local_only)
    timm_name = config["vision_encoder"]["model_name"]
    trunk = trunk or files.trunk or hub.trunk_path(timm_name, local_only)
    found = Found(checkpoint, files.checkpoint, Path(trunk).expanduser(), Path(text).expanduser())
    if not found.trunk.is_file():
        raise FileNotFoundError(f"expected the trunk's weights in {found.trunk}, and there is no such file")
    _check_text_folder(found.text)
    return found


def _check_text_folder(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TEXT_WEIGHTS):
        here = ", ".join(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ""
        state = f"it holds {here or 'nothing'}" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"expected a text encoder's folder with {' or '.join(TEXT_WEIGHTS)} at {folder}; {state}"
        )


def load_parts(found: Found, name: str) -> SteerViT:
    """Build the model; `name` is what it is called where its config does not say."""
    config = {**found.checkpoint.config, "name": found.checkpoint.config.get("name", name)}
    model = build(config, TextEncoder.from_folder(found.text, local_only=True))
    load_trunk(model.trunk, found.trunk)
    without_pooling(model.trunk)
    load_trained(model, found.checkpoint)
    return model.float().eval().requires_grad_(False)


def load_pretrained(name_or_path, *, trunk=None, text_encoder=None, local_only: bool = False) -> SteerViT:
    """See `SteerViT.from_pretrained`."""
    found = find_parts(name_or_path, trunk=trunk, text_encoder=text_encoder, local_only=local_only)
    return load_parts(found, Path(str(name_or_path)).stem)
