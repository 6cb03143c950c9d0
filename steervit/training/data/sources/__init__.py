"""Where training data come from: one module per data set, each turning its own files into records.

A recipe names sources like this (`kind` may be left out when it is the name; paths may hold ~ and $VARIABLES):

    sources:
      refcoco: {root: data/refer, images: data/coco}
      refcoco+: {kind: refcoco, dataset: refcoco+, root: data/refer, images: data/coco}
      visual_genome: {root: data/vg, masks: data/vg-masks, min_quality: 0.7, weight: 2}

The options of each kind are the keywords of its `read`. A new data set is a module here and a line below.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steervit.did_you_mean import did_you_mean
from steervit.training.data.mixture import Mixture, Source
from steervit.training.data.records import Record
from steervit.training.data.sources import lvis, mapillary, prepared, refcoco, rendered, visual_genome

READERS: dict[str, Callable[..., Sequence[Record]]] = {
    "refcoco": refcoco.read,
    "lvis": lvis.read,
    "visual_genome": visual_genome.read,
    "mapillary": mapillary.read,
    "prepared": prepared.read,
    "rendered": rendered.read,
}


def read_mixture(
    sources: Mapping[str, Mapping[str, Any]],
    split: str = "train",
    *,
    batch: int = 1,
    seed: int = 42,
    fraction: float = 1.0,
    index: Path | None = None,
) -> Mixture:
    """The mixture of all `sources` (name -> kind, weight and the kind's options), see `Mixture`.

    `index` is the folder for index files; without it, large sources are read into memory.
    Raises ValueError for unknown kinds and options, FileNotFoundError for files that are not there.
    """
    return Mixture(
        [read_source(name, config, split, index) for name, config in sources.items()], batch, seed, fraction
    )


def read_source(
    name: str, config: Mapping[str, Any], split: str = "train", index: Path | None = None
) -> Source:
    """One source by its name and options. Errors name the source; see `read_mixture`."""
    kind, weight, options = _checked(name, config)
    root = options.pop("root", None)
    try:
        return Source(name, READERS[kind](root, split, index=index, **options), weight)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"source {name!r}: {error}") from error


def scene_shards(
    name: str, config: Mapping[str, Any], index: Path, processes: int = 1
) -> tuple[list[Path], float | None]:
    """The shards of training scenes of a source of kind `rendered`, drawn if need be, and its weight.

    `processes` draw them unless the source says how many. Raises as `read_source`, and ValueError for another kind.
    """
    kind, weight, options = _checked(name, config)
    if kind != "rendered":
        raise ValueError(
            f"source {name!r}: data.windows trains on rendered scenes, and this source is of kind {kind!r}; "
            "take the source away, or set data.windows to null to read whole images"
        )
    defaults = {key: one.default for key, one in inspect.signature(rendered.read).parameters.items()}
    chosen = {**defaults, "processes": processes, **options}
    drawing = rendered.Drawing(
        *(chosen[key] for key in ("size", "photos", "several", "good", "patched", "shiny"))
    )
    wanted = {key: chosen[key] for key in ("scenes", "processes")}
    try:
        return rendered.shards(options.get("root"), "train", drawing, index=index, **wanted), weight
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"source {name!r}: {error}") from error


def _checked(name: str, config: Mapping[str, Any]) -> tuple[str, float | None, dict[str, Any]]:
    """Kind, weight and options of a source, paths expanded. Raises ValueError for what no source has."""
    options = dict(config)
    kind, weight = str(options.pop("kind", name)), options.pop("weight", None)
    if kind not in READERS:
        raise ValueError(
            f"expected the kind of source {name!r} to be one of {', '.join(READERS)}, got {kind!r}"
        )
    if weight is not None and not isinstance(weight, (int, float)):
        raise ValueError(f"expected the weight of source {name!r} to be a number, got {weight!r}")
    known = inspect.signature(READERS[kind], eval_str=True).parameters
    _refuse_unknown(name, kind, options, list(known))
    if "root" not in options and known["root"].default is inspect.Parameter.empty:
        raise ValueError(
            f"source {name!r} needs `root`, the folder of its files: set data.sources.{name}.root"
        )
    paths = {key for key in options if "Path" in str(known[key].annotation)}
    return kind, weight, {key: _path(value) if key in paths else value for key, value in options.items()}


def _refuse_unknown(name: str, kind: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    settable = ["kind", "weight", *(key for key in known if key not in ("index", "split"))]
    for key in options:
        if key not in settable:
            raise ValueError(
                f"unknown key {key!r} of source {name!r}{did_you_mean(key, settable)} A source of kind {kind} "
                f"knows {', '.join(settable)}"
            )


def _path(value: Any) -> Path | None:
    return None if value is None else Path(os.path.expandvars(str(value))).expanduser()
