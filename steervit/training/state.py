"""What a run needs to go on exactly where it was: written whole, checked when read, never run as code.

Each checkpoint's name carries its hash, so that a cut-short or damaged file is noticed and the one before it
is taken; one that belongs to another run is refused. Knows tensors and numbers, not what they mean.
"""

from __future__ import annotations

import hashlib
import io
import logging
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from steervit.files import write_whole
from steervit.processes import Processes
from steervit.training.recipe import Recipe

log = logging.getLogger(__name__)
NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt")


# What may change on the way without changing a single update up to the step reached.
FREE = {
    "name", "about", "command", "hardware", "duration", "score", "hours",
    "data.workers", "train.steps", "train.checkpoint_activations", "train.validate_every",
    "train.validate_samples", "train.save_every", "train.keep", "train.log_every",
    "train.pictures_every", "train.pictures", "train.export",
}  # fmt: skip

NOTHING = "nothing to go on from: no whole checkpoint in {}. Start anew instead of resuming"


class NotFinite(ValueError):
    """Training has come to numbers that are none. `checkpoint` is the last sound one, None before the first."""

    def __init__(self, what: str, step: int, folder: Path) -> None:
        self.step, self.checkpoint = step, next(iter(checkpoints(folder)), None)
        kept = "no checkpoint was written before it"
        if self.checkpoint is not None:
            kept = f"the last sound checkpoint is {self.checkpoint}, of step {_step_of(self.checkpoint)}"
        super().__init__(
            f"{what} is no longer a number at step {step}; {kept}, and nothing was written after it. A lower "
            "train.schedule.peak, or train.precision: fp32, may help: start anew with it in another folder"
        )


def not_finite(state: Any, name: str = "") -> str | None:
    """The name of a tensor in nested dicts and lists that holds a NaN or an infinity, or None."""
    found = list(_tensors(state, name))
    if not found or bool(torch.stack([tensor.isfinite().all().cpu() for _, tensor in found]).all()):
        return None
    return next(name for name, tensor in found if not tensor.isfinite().all())


def _tensors(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value, name)


def save_state(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path | None:
    """Write `state` as the checkpoint of `step` and drop all but the `keep` newest.

    When the disk is full, None comes back with a warning; the checkpoints before stay as they are.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    path = folder / f"step-{step:08d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    try:
        write_whole(path, data)
    except OSError as error:
        kept = [_step_of(one) for one in checkpoints(folder)]
        last = f"the one of step {kept[0]} stays" if kept else "there is none before it"
        log.warning("the checkpoint of step %d could not be written (%s); %s. Training goes on: free some "
                    "space in %s", step, error, last, folder)  # fmt: skip
        return None
    for old in checkpoints(folder)[max(1, keep) :]:
        old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole; broken ones are passed over with a warning. None without any."""
    for path in checkpoints(folder):
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest()[:16] != NAME.fullmatch(path.name)[2]:  # type: ignore[index]
                raise ValueError("its content does not have the hash in its name")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            log.warning("%s is cut short or damaged (%s): going on from the one before it", path, error)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the newest first."""
    found = [path for path in folder.glob("step-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_step_of(path), path.stat().st_mtime_ns), reverse=True)


def _step_of(path: Path) -> int:
    return int(NAME.fullmatch(path.name)[1])  # type: ignore[index]


def randomness() -> dict[str, Any]:
    """The state of every generator that a step might draw from."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_randomness(state: dict[str, Any]) -> None:
    """Put back what `randomness` gave."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def seed_all(seed: int) -> None:
    """Start every generator from `seed`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


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
            + "; go on with the same recipe, or start anew in another folder"
        )
    if found["frozen"] != frozen:
        raise ValueError(
            f"the run in {out} was started with another trunk or text encoder than is here now: give the "
            "same weights, or start anew in another folder"
        )


def _free(key: str) -> bool:
    return (
        key in FREE
        or key.startswith("export.")
        or (key.startswith("data.sources.") and key.endswith(".processes"))
    )


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
