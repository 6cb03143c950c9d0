"""A training recipe: everything that decides a run, read from YAML. Knows nothing of models or tensors.

A recipe may extend another and state only its difference; unknown keys are errors that name the nearest key.
Sizes are in patches, tokens or pixels as the field says; steps count optimiser updates.
"""

from __future__ import annotations

import contextlib
import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

HEADER = ("about", "command", "hardware", "duration", "score")  # said by every recipe itself, never inherited


@dataclass(frozen=True)
class ModelSettings:
    """The architecture, and where its frozen parts come from: the hub, a file or folder, or chance."""

    trunk: str = "vit_base_patch14_dinov2.lvd142m"
    trunk_sizes: dict[str, Any] = field(
        default_factory=dict
    )  # of `steervit_nano`: patch_size, width, depth ...
    trunk_weights: str = "hub"  # "hub", "random", or a file in timm's layout
    resolution: int = 336
    feature_aggregation: Literal["cls", "mean"] = "cls"
    cross_attn_layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    cross_attn_heads: int = 16
    cross_attn_head_dim: int = 72
    gated: bool = True
    gated_ffn: bool = False
    ffn_mult: int = 2
    connector: Literal["mlp", "linear"] = "mlp"
    fusion: Literal["early", "late"] = "early"
    text_encoder: str = "roberta-large"
    text_sizes: dict[str, Any] = field(default_factory=dict)  # of a random one: width, layers, heads ...
    text_weights: str = "hub"  # "hub", "random", or a folder in the Hugging Face layout
    start: str | None = None  # a trained model's folder to go on from; its trunk and text tower come with it
    gate_init: float = 0.0
    head_init_std: float = 0.0
    head_init_bias: float = 0.0


@dataclass(frozen=True)
class WindowSettings:
    """Steps that train on windows of rendered scenes, from features that the trunk's fixed filters gave once."""

    side: int = 16  # patches; a scene of fewer is taken whole
    sentences: int = 2  # per scene: one asks for every defect, the others for anything else
    at_defects: float = 0.0  # share of the windows that are laid where a defect is, in scenes that have one
    feature_dropout: float = 0.1  # share of the features that is silenced, per scene
    salience: float = 0.0  # a scene is left out whose defects the fixed filters alone rank below this AUROC

    def __post_init__(self) -> None:
        _at_least("data.windows", self, side=1, sentences=1)
        _below_one("data.windows.at_defects", self.at_defects)
        _below_one("data.windows.feature_dropout", self.feature_dropout)
        _below_one("data.windows.salience", self.salience)


@dataclass(frozen=True)
class DataSettings:
    """What is drawn: the sources with their weights, how much of them, and the kind of target."""

    sources: dict[str, Any] = field(default_factory=dict)  # by name: kind, weight, and what the kind needs
    fraction: float = 1.0  # of each source's records, the same ones for every run
    target: Literal["mask", "point"] = "mask"
    point_sigma: float = 1.1  # patches
    augment: bool = True  # the paper's augmentation; of windows, mirror images only
    windows: WindowSettings | None = None  # null: whole images
    workers: int = 2  # processes that read and augment, per training process


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`, cosine to `floor` at `cosine_until`, then constant. Learning rates per step."""

    peak: float = 3e-4
    floor: float = 3e-5
    warmup: int = 5_000
    cosine_until: int = 40_000


@dataclass(frozen=True)
class TrainSettings:
    """Optimiser, length, precision, and how often things happen (in steps)."""

    steps: int = 500_000
    batch: int = 12  # images per step, over all processes together
    trainable: Literal["steering", "steering+text", "all"] = "steering"
    schedule: Schedule = field(default_factory=Schedule)
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.1  # of cross-attention and head
    connector_weight_decay: float = 0.01
    clip: float = 1.0
    presence: float = 0.0  # weight of the per-patch presence loss, our addition for nano
    kinds: float = 0.0  # weight of a loss that teaches the trunk what each patch shows; needs data.windows
    averaging: float = 0.0  # decay of a moving average of the weights, which is then what is kept; 0: none
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_activations: bool = False
    text_cache: Literal["fp16", "fp32", "off"] = "fp16"  # how features of sentences are kept
    seed: int = 42
    validate_every: int = 3_600
    validate_samples: int = 500  # per source
    save_every: int = 1_000
    keep: int = 2  # checkpoints to go on from
    export: Literal["fp32", "fp16"] = "fp32"  # precision of the weights in best/ and last/
    log_every: int = 50
    pictures_every: int = 3_600
    pictures: int = 8

    def __post_init__(self) -> None:
        _at_least("train", self, steps=1, batch=1, keep=1, validate_every=1, save_every=1, log_every=1)
        _at_least("train", self, pictures_every=1, pictures=0, validate_samples=0)
        _below_one("train.averaging", self.averaging)


@dataclass(frozen=True)
class Recipe:
    """One training run. `about` to `score` head the file; `hours` is the expected time on `hardware`."""

    name: str
    about: str = ""
    command: str = ""
    hardware: str = ""
    duration: str = ""
    score: str = ""
    hours: float | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    train: TrainSettings = field(default_factory=TrainSettings)

    def to_yaml(self) -> str:
        """The whole recipe, nothing left to inherit; `load` reads it back."""
        plain = _plain(asdict(self))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def load(name_or_path: str, folder: Path | None = None, settings: Iterable[str] = ()) -> Recipe:
    """The recipe of a file, or by name from `folder`, with `key=value` settings on top.

    Raises ValueError for unknown names, unknown keys (naming the nearest), wrong types and circles.
    """
    name, content = _resolve(name_or_path, folder, ())
    for setting in settings:
        _set(content, setting)
    return _typed({"name": name, **content}, Recipe, "")


def _resolve(name_or_path: str, folder: Path | None, seen: tuple[Path, ...]) -> tuple[str, dict[str, Any]]:
    """The content of a recipe with all that it extends merged in, and its name."""
    path = _find(name_or_path, folder)
    if path in seen:
        raise ValueError(
            f"recipes extend each other in a circle: {' -> '.join(p.stem for p in (*seen, path))}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, got {type(content).__name__}")
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
    raise ValueError(f"no recipe called {name_or_path!r}{_nearest(name_or_path, known)}; there are: "
                     f"{', '.join(known) or 'none'}. A path to a .yaml file works too")  # fmt: skip


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
        raise ValueError(f"expected --set key=value, such as train.steps=100, got {setting!r}")
    *tables, last = key.strip().split(".")
    for table in tables:
        if content.get(table) is None:
            content[table] = {}
        content = content[table]
        if not isinstance(content, dict):
            raise ValueError(f"--set {setting}: {table!r} is a value and has no keys of its own")
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {setting}: the value is not readable YAML: {error}") from error


def _typed(value: Any, kind: Any, key: str) -> Any:
    """`value` as `kind`, a dataclass or a plain type; errors name the `key`."""
    if is_dataclass(kind):
        return _table(value, kind, key)
    origin = get_origin(kind)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"expected {key} to be one of {', '.join(get_args(kind))}, got {value!r}")
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(value, get_args(kind)[0], key)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(item, get_args(kind)[0], f"{key}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(name): item for name, item in value.items() if item is not None}
    return _number_or_text(value, kind, key)


def _number_or_text(value: Any, kind: Any, key: str) -> Any:
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind in (int, float) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            number = float(value)  # YAML reads 3e-4 as text
            if kind is float or number.is_integer():
                return kind(number)
    name = {"tuple": "a list", "dict": "a table", "int": "a whole number", "float": "a number",
            "str": "text", "bool": "true or false"}[getattr(get_origin(kind) or kind, "__name__", "str")]  # fmt: skip
    raise ValueError(f"expected {key} to be {name}, got {value!r}")


def _at_least(table: str, settings: Any, **least: int) -> None:
    for key, bound in least.items():
        if (value := getattr(settings, key)) < bound:
            raise ValueError(f"expected {table}.{key} to be at least {bound}, got {value}")


def _below_one(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"expected {key} from 0 to below 1, got {value:g}")


def _table(value: Any, kind: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected {key} to be a table of keys, got {value!r}")
    known = [one.name for one in fields(kind)]
    hints = get_type_hints(kind)
    for name in value:
        if name not in known:
            where = f"{key}.{name}" if key else str(name)
            raise ValueError(f"unknown key {where!r} in the recipe{_nearest(str(name), known)}; "
                             f"known here: {', '.join(known)}")  # fmt: skip
    path = f"{key}." if key else ""
    return kind(**{name: _typed(item, hints[name], path + name) for name, item in value.items()})


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


__all__ = ["DataSettings", "ModelSettings", "Recipe", "Schedule", "TrainSettings", "load"]
