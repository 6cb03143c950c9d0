"""Reads and writes checkpoints. Only here do pickles, old key names and missing keys exist.

Two formats: the published `.pth` (a pickled dict) and our own, `model.safetensors` beside `config.json`. No
code from a file ever runs: a pickle's imports are listed and compared with a short allow-list first, and then
torch's weights-only reader builds it. Trunk and text encoder are not in a checkpoint, and not known here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steervit.files import sha256_of, write_whole
from steervit.weights.pickles import CheckpointError, load_pth

__all__ = ["Checkpoint", "CheckpointError", "read_checkpoint", "write_pth", "write_safetensors"]

FORMAT_VERSION = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
OURS = ("format_version", "weights_sha256")  # keys of config.json that are about the file, not the model

# What the published format keeps: cross-attention layers, connector, head. Wrappers put prefixes before them.
PREFIX = re.compile(r"^(?:module\.|_orig_mod\.)+")
NAMES = re.compile(
    r"vision_model\.trunk\.blocks\.\d+\.gated_cross_attn\."
    r"(attn_gate|ff_gate|cross_attn\.(norm\.(weight|bias)|to_(q|kv|out)\.weight)|ff\.(0\.(weight|bias)|[13]\.weight))"
    r"|connector\.mlp\.[02]\.(weight|bias)|lin_seg_head\.(weight|bias)"
)
KEPT = ("cross_attn", "connector", "lin_seg_head")
ALWAYS = (
    *(f"connector.mlp.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")),
    *(f"lin_seg_head.{kind}" for kind in ("weight", "bias")),
)
LAYER = re.compile(r"blocks\.(\d+)\.")
PER_LAYER = (
    "attn_gate",
    *(f"cross_attn.{n}.weight" for n in ("norm", "to_q", "to_kv", "to_out")),
    "cross_attn.norm.bias",
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's plain settings and its tensors, both under the published names.

    `config` holds strings, numbers, booleans, None, lists and dicts only: at least
    `vision_encoder.model_name` and `text_encoder`. `state` holds the cross-attention layers
    (`vision_model.trunk.blocks.{i}.gated_cross_attn...`), the connector and the head, on the CPU; read from a
    `.pth` the tensors are views of the file, so copy them (as `load_state_dict` does) before changing it.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]

    @property
    def layers(self) -> list[int]:
        """The 0-based trunk blocks that carry a cross-attention layer, in order."""
        return sorted({int(found[1]) for name in self.state if (found := LAYER.search(name))})

    @property
    def gates(self) -> dict[int, float]:
        """The raw attention gate of each layer that has one, before tanh."""
        name = "vision_model.trunk.blocks.{}.gated_cross_attn.attn_gate"
        found = {layer: self.state.get(name.format(layer)) for layer in self.layers}
        return {layer: float(gate) for layer, gate in found.items() if gate is not None}

    @property
    def parameters(self) -> int:
        """How many numbers the checkpoint holds (neither trunk nor text encoder among them)."""
        return sum(tensor.numel() for tensor in self.state.values())


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The checkpoint at `path`: a published `.pth`, a folder of ours, or the `.safetensors` in it.

    Training state beside the weights (optimiser, step) is left out. Raises `CheckpointError` (a
    `ValueError`) for a file that is cut short, damaged, of another kind, or that asks for code to be run;
    `FileNotFoundError` when there is nothing at `path`.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_safetensors(_weights_in(path))
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint at {path}: expected a .pth, a .safetensors or a folder of ours"
        )
    return {"pickle": _read_pth, "safetensors": _read_safetensors}[_kind(path)](path)


def write_safetensors(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write our own format and return the path of the weights.

    `path` is a folder, which gets `model.safetensors` and `config.json`, or a file `NAME.safetensors`, which
    gets `NAME.json` beside it. The config carries the published keys, `format_version` and the SHA-256 of the
    weights, so weights and settings cannot be mixed up. Each file appears whole or not at all.
    """
    path = Path(path).expanduser()
    weights = path if path.suffix == ".safetensors" and not path.is_dir() else path / WEIGHTS
    weights.parent.mkdir(parents=True, exist_ok=True)
    # Copies, because safetensors refuses tensors that share memory and a mapped file may be the one replaced.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.state.items()}
    write_whole(weights, lambda to: save_file(state, to, metadata={"format": "pt"}))
    about = {"format_version": FORMAT_VERSION, "weights_sha256": sha256_of(weights)}
    text = json.dumps({**about, **checkpoint.config}, indent=2, ensure_ascii=False) + "\n"
    write_whole(_config_of(weights), lambda to: to.write_text(text, encoding="utf-8"))
    return weights


def write_pth(path: str | Path, checkpoint: Checkpoint) -> Path:
    """Write the published layout, a pickled dict with `state_dict` and `config`, whole or not at all."""
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().clone() for name, tensor in checkpoint.state.items()}
    write_whole(path, lambda to: torch.save({"state_dict": state, "config": checkpoint.config}, to))
    return path


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"PK"):
        return "pickle"
    if head.startswith(b"version h"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights: fetch them with `git lfs pull`")
    if len(head) == 9 and head[8:9] == b"{":  # eight bytes of length, then a JSON header
        return "safetensors"
    if head[:1] == b"\x80":
        raise CheckpointError(
            f"{path} is a bare pickle or a torch file from before version 1.6, which cannot be read safely: "
            "open it where you trust it and write it again with torch.save"
        )
    what = "is empty" if not head else "is neither"
    raise CheckpointError(f"expected a SteerViT .pth or .safetensors, but {path} {what}: download it again")


def _read_pth(path: Path) -> Checkpoint:
    content = load_pth(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path} is not a SteerViT checkpoint: expected a dict with 'state_dict' and 'config', "
            f"found {found}"
        )
    return _checked(path, content.get("config"), content["state_dict"])


def _read_safetensors(path: Path) -> Checkpoint:
    config = _read_config(path)
    expected = config.get("weights_sha256")
    if expected is not None and expected != (got := sha256_of(path)):
        raise CheckpointError(
            f"{path} does not belong to {_config_of(path).name}, or is damaged: expected SHA-256 {expected}, "
            f"got {got}. Fetch both files again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}): fetch it again") from error
    return _checked(path, {key: value for key, value in config.items() if key not in OURS}, state)


def _read_config(weights: Path) -> dict[str, Any]:
    path = _config_of(weights)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{weights} needs its settings beside it: expected {path}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}): fetch it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(config).__name__}")
    version = config.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {version!r}, but only up to {FORMAT_VERSION} is known here: "
            "update steer-anomaly"
        )
    return config


def _checked(path: Path, config: Any, state: dict[Any, Any]) -> Checkpoint:
    """A `Checkpoint` with nothing missing, nothing foreign, and only plain dense tensors."""
    _check_config(path, config)
    named = {PREFIX.sub("", str(name)): tensor for name, tensor in state.items()}
    kept = {name: tensor for name, tensor in named.items() if any(part in name for part in KEPT)}
    for name, tensor in kept.items():
        if not NAMES.fullmatch(name):
            raise CheckpointError(
                f"{path}: {name!r} is not a name of the published format: was it saved by another model?"
            )
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} should be a dense floating-point tensor")
    checkpoint = Checkpoint(config, kept)
    _check_complete(path, checkpoint)
    return checkpoint


def _check_config(path: Path, config: Any) -> None:
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected a 'config' that is a dict, found {type(config).__name__}")
    vision = config.get("vision_encoder")
    if not isinstance(vision, dict) or not isinstance(vision.get("model_name"), str):
        raise CheckpointError(
            f"{path}: the config lacks 'vision_encoder.model_name', the timm name of the trunk"
        )
    if not config.get("text_encoder"):
        raise CheckpointError(f"{path}: the config lacks 'text_encoder', the name of the text encoder")


def _check_complete(path: Path, checkpoint: Checkpoint) -> None:
    layers = [f"vision_model.trunk.blocks.{i}.gated_cross_attn." for i in checkpoint.layers]
    parts = [*PER_LAYER, *(["ff_gate", "ff.1.weight", "ff.3.weight"] if _has_ffn(checkpoint) else [])]
    if not checkpoint.config["vision_encoder"].get("cross_attn_gated", True):  # an ablation without gates
        parts = [part for part in parts if "gate" not in part]
    linear = (
        checkpoint.config.get("connector") == "linear"
    )  # an ablation without the connector's hidden layer
    always = [name for name in ALWAYS if not (linear and name.startswith("connector.mlp.2."))]
    wanted = [*always, *(layer + part for layer in layers for part in parts)]
    missing = [name for name in wanted if name not in checkpoint.state]
    if not layers:
        missing.insert(0, "vision_model.trunk.blocks.*.gated_cross_attn.*")
    if missing:
        shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise CheckpointError(f"{path} is not a whole SteerViT checkpoint, it lacks {shown}: fetch it again")


def _has_ffn(checkpoint: Checkpoint) -> bool:
    return any(".ff" in name for name in checkpoint.state)


def _weights_in(folder: Path) -> Path:
    if (folder / WEIGHTS).is_file():
        return folder / WEIGHTS
    raise CheckpointError(f"the folder {folder} is no checkpoint: expected {WEIGHTS} and {CONFIG} in it")


def _config_of(weights: Path) -> Path:
    return weights.with_name(CONFIG) if weights.name == WEIGHTS else weights.with_suffix(".json")
