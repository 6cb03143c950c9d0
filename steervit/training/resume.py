"""Going on from a checkpoint: finds it, and refuses one that belongs to another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from steervit.processes import Processes
from steervit.training.recipe import Recipe
from steervit.training.state import load_newest

# What may change on the way without changing a single update up to the step reached.
FREE = {
    "name", "about", "command", "hardware", "duration", "score", "hours",
    "data.workers", "train.steps", "train.checkpoint_activations", "train.validate_every",
    "train.validate_samples", "train.save_every", "train.keep", "train.log_every",
    "train.pictures_every", "train.pictures", "train.export",
}  # fmt: skip

NOTHING = "nothing to go on from: no whole checkpoint in {}. Start without --resume"


def shared_state(folder: Path, processes: Processes) -> dict[str, Any]:
    """The newest whole checkpoint in `folder`, read by the leading process and given to all.

    Raises ValueError when there is none.
    """
    found = processes.broadcast(load_newest(folder) if processes.leads else None)
    if found is None:
        raise ValueError(NOTHING.format(folder))
    return found


def check_same_run(found: dict[str, Any], recipe: Recipe, frozen: str, out: Path) -> None:
    """Raises ValueError when the checkpoint was written under another recipe, or with other frozen weights."""
    before, now = _flat(yaml.safe_load(found["recipe"])), _flat(yaml.safe_load(recipe.to_yaml()))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed := [key for key in changed if not _free(key)]:
        key = changed[0]
        raise ValueError(
            f"the run in {out} was started with {key} {before.get(key)!r}, now it is {now.get(key)!r}"
            + (f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else "")
            + "; go on with the same recipe, or start anew in another --out"
        )
    if found["frozen"] != frozen:
        raise ValueError(
            f"the run in {out} was started with another trunk or text encoder than is here now: give the "
            "same weights, or start anew in another --out"
        )


def _free(key: str) -> bool:
    return key in FREE or key.startswith("export.") or (key.startswith("data.sources.") and key.endswith(".processes"))


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
