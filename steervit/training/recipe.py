"""A training recipe: everything that decides a run, read from YAML. Knows nothing of models or tensors.

A recipe may extend another and state only its difference; unknown keys are errors that name the nearest key.
Sizes are in patches, tokens or pixels as the field says; steps count optimiser updates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic.dataclasses import dataclass

from steervit.did_you_mean import unknown
from steervit.nano.window_settings import WindowSettings
from steervit.schema import STRICT, Flag, NotNegative, Number, Positive, Share, Table, Whole, parse, read_yaml

HEADER = ("about", "command", "hardware", "duration", "score")  # said by every recipe itself, never inherited


@dataclass(frozen=True, config=STRICT)
class ModelSettings:
    """The architecture, and where its frozen parts come from: the hub, a file or folder, or chance."""

    trunk: str = "vit_base_patch14_dinov2.lvd142m"
    trunk_sizes: Table = field(default_factory=dict)  # of `steervit_nano`: patch_size, width, depth ...
    trunk_weights: str = "hub"  # "hub", "random", or a file in timm's layout
    resolution: Whole = 336
    feature_aggregation: Literal["cls", "mean"] = "cls"
    cross_attn_layers: tuple[Whole, ...] = (1, 3, 5, 7, 9, 11)
    cross_attn_heads: Whole = 16
    cross_attn_head_dim: Whole = 72
    gated: Flag = True
    gated_ffn: Flag = False
    ffn_mult: Whole = 2
    connector: Literal["mlp", "linear"] = "mlp"
    fusion: Literal["early", "late"] = "early"
    text_encoder: str = "roberta-large"
    text_sizes: Table = field(default_factory=dict)  # of a random one: width, layers, heads ...
    text_weights: str = "hub"  # "hub", "random", or a folder in the Hugging Face layout
    start: str | None = None  # a trained model's folder to go on from; its trunk and text tower come with it
    gate_init: Number = 0.0
    head_init_std: Number = 0.0
    head_init_bias: Number = 0.0


@dataclass(frozen=True, config=STRICT)
class DataSettings:
    """What is drawn: the sources with their weights, how much of them, and the kind of target."""

    sources: Table = field(default_factory=dict)  # by name: kind, weight, and what the kind needs
    fraction: Number = 1.0  # of each source's records, the same ones for every run
    target: Literal["mask", "point"] = "mask"
    point_sigma: Number = 1.1  # patches
    augment: Flag = True  # the paper's augmentation; of windows, mirror images only
    windows: WindowSettings | None = None  # null: whole images
    workers: Whole = 2  # processes that read and augment, per training process


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """Linear warm-up to `peak`, cosine to `floor` at `cosine_until`, then constant. Learning rates per step."""

    peak: Number = 3e-4
    floor: Number = 3e-5
    warmup: Whole = 5_000
    cosine_until: Whole = 40_000


@dataclass(frozen=True, config=STRICT)
class TrainSettings:
    """Optimiser, length, precision, and how often things happen (in steps)."""

    steps: Positive = 500_000
    batch: Positive = 12  # images per step, over all processes together
    trainable: Literal["steering", "steering+text", "steering+trunk", "all"] = "steering"
    text_rate: Number = 1.0  # of the learning rate, for a text tower that learns
    schedule: Schedule = field(default_factory=Schedule)
    betas: tuple[Number, ...] = (0.9, 0.999)
    weight_decay: Number = 0.1  # of cross-attention and head
    connector_weight_decay: Number = 0.01
    clip: Number = 1.0
    presence: Number = 0.0  # weight of the per-patch presence loss, our addition for nano
    overlap: Number = 0.0  # weight of a loss on the overlap with what is asked for, thin or wide; for nano
    shown: Number = 0.0  # weight of a loss on images that show what is asked for or not; needs data.windows
    kinds: Number = 0.0  # weight of a loss that teaches the trunk what each patch shows; needs data.windows
    averaging: Share = 0.0  # decay of a moving average of the weights, which is then what is kept; 0: none
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_activations: Flag = False
    text_cache: Literal["fp16", "fp32", "off"] = "fp16"  # how features of sentences are kept
    seed: Whole = 42
    validate_every: Positive = 3_600
    validate_samples: NotNegative = 500  # per source
    save_every: Positive = 1_000
    keep: Positive = 2  # checkpoints to go on from
    log_every: Positive = 50
    pictures_every: Positive = 3_600
    pictures: NotNegative = 8


@dataclass(frozen=True, config=STRICT)
class ExportSettings:
    """What is in best/ and last/ beside what was learned."""

    precision: Literal["fp32", "fp16"] = "fp32"  # of the weights
    files: dict[str, Table] = field(default_factory=dict)  # YAML by name, for whoever uses the model

    def __post_init__(self) -> None:
        for name in self.files:
            if Path(name).name != name or not name.endswith((".yaml", ".yml")) or name == "recipe.yaml":
                raise ValueError(f"expected names such as notes.yaml under export.files, got {name!r}")


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One training run. `about` to `score` head the file; `hours` is the expected time on `hardware`."""

    name: str
    about: str = ""
    command: str = ""
    hardware: str = ""
    duration: str = ""
    score: str = ""
    hours: Number | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    export: ExportSettings = field(default_factory=ExportSettings)

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe, nothing left to inherit, as YAML holds it."""
        return _plain(asdict(self))

    def to_yaml(self) -> str:
        """As `to_dict`, as text; `load` reads it back."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100)


def load(name_or_path: str, folder: Path | None = None, settings: Iterable[str] = ()) -> Recipe:
    """The recipe of a file, or by name from `folder`, with `key=value` settings on top.

    Raises ValueError for unknown names, unknown keys (naming the nearest), wrong types and circles.
    """
    name, content = _resolve(name_or_path, folder, ())
    for setting in settings:
        _set(content, setting)
    return parse(Recipe, {"name": name, **content}, f"recipe {name}")


def _resolve(name_or_path: str, folder: Path | None, seen: tuple[Path, ...]) -> tuple[str, dict[str, Any]]:
    """The content of a recipe with all that it extends merged in, and its name."""
    path = _find(name_or_path, folder)
    if path in seen:
        raise ValueError(
            f"recipes extend each other in a circle: {' -> '.join(p.stem for p in (*seen, path))}"
        )
    content = read_yaml(path)
    base = content.pop("extends", None)
    if base is None:
        return path.stem, content
    _, inherited = _resolve(str(base), path.parent if _find_in(path.parent, base) else folder, (*seen, path))
    for key in (*HEADER, "hours", "name"):
        inherited.pop(key, None)
    return path.stem, _merged(inherited, content)


def _find_in(folder: Path, name: str) -> bool:
    return (folder / f"{name}.yaml").is_file()


def _find(name_or_path: str, folder: Path | None) -> Path:
    path = Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if folder is not None and _find_in(folder, name_or_path):
        return folder / f"{name_or_path}.yaml"
    known = sorted(p.stem for p in folder.glob("*.yaml")) if folder is not None else []
    raise ValueError(f"{unknown('recipe', name_or_path, known)}. A path to a .yaml file works too")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, table by table; `null` takes an inherited entry of a table away."""
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged


def _set(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise ValueError(f"expected a setting key=value, such as train.steps=100, got {setting!r}")
    *tables, last = key.strip().split(".")
    for table in tables:
        if content.get(table) is None:
            content[table] = {}
        content = content[table]
        if not isinstance(content, dict):
            raise ValueError(f"setting {setting}: {table!r} is a value and has no keys of its own")
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"setting {setting}: the value is not readable YAML: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
