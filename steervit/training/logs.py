"""The log of a run: metrics.jsonl, a progress bar, TensorBoard where it is installed. Knows numbers only."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from steervit.files import write_whole

METRICS = "metrics.jsonl"


class RunLog:
    """Writes one line of numbers at a time. `say` shows a sentence to the user."""

    def __init__(self, folder: Path, steps: int, start: int, say: Callable[[str], None]) -> None:
        self.folder, self.say, self.steps = folder, say, steps
        folder.mkdir(parents=True, exist_ok=True)
        _forget_after(folder / METRICS, start)
        self._bar = tqdm(
            total=steps, initial=start, unit="step", dynamic_ncols=True, disable=not sys.stderr.isatty()
        )
        self._board = _tensorboard(folder / "tensorboard", start, say)
        self._shown: dict[str, str] = {}
        self._since, self._images = time.perf_counter(), 0

    def advance(self, images: int) -> None:
        """One more step of `images` images is done."""
        self._images += images
        self._bar.update()

    def numbers(self, step: int, loss: float, pmass: float, rate: float) -> None:
        """Mean loss and pmass since the last line, and the learning rate, after `step` steps.

        pmass is not a number where no sample had a target, and is then null in the file.
        """
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        speed, self._images = self._images / max(seconds, 1e-9), 0
        mass = None if math.isnan(pmass) else pmass
        self._write({"step": step, "loss": loss, "pmass": mass, "lr": rate, "images_per_s": speed})
        self._show(step, loss=f"{loss:.3f}", pmass=f"{pmass:.3f}", lr=f"{rate:.1e}", images_s=f"{speed:.1f}")

    def validation(self, step: int, means: dict[str, float]) -> None:
        """pmass by source on the validation samples, after `step` steps."""
        self._write({"step": step, "validation": means})
        self._show(step, valid=f"{means.get('all', float('nan')):.3f}")
        self._since, self._images = time.perf_counter(), 0

    def close(self) -> None:
        """Finish the bar and the files."""
        self._bar.close()
        if self._board is not None:
            self._board.close()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            with (self.folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            self.say(f"{METRICS} could not be written ({error}); training goes on")
        for name, value in _flat(line):
            if self._board is not None:
                self._board.add_scalar(name, value, line["step"])

    def _show(self, step: int, **numbers: str) -> None:
        self._shown |= numbers
        self._bar.set_postfix(self._shown)
        if self._bar.disable:
            shown = "  ".join(f"{name} {value}" for name, value in self._shown.items())
            self.say(f"step {step}/{self.steps}  {shown}")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line cut short is left out. Raises FileNotFoundError."""
    lines = []
    for line in (folder / METRICS).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _forget_after(path: Path, step: int) -> None:
    # What a killed run wrote after its last checkpoint is going to be written again.
    if path.exists():
        kept = [json.dumps(line) + "\n" for line in read_metrics(path.parent) if line["step"] <= step]
        write_whole(path, "".join(kept))


def _flat(line: dict[str, Any]) -> list[tuple[str, float]]:
    found = [(f"train/{name}", value) for name, value in line.items() if isinstance(value, float)]
    return found + [(f"validation/{name}", value) for name, value in line.get("validation", {}).items()]


def _tensorboard(folder: Path, start: int, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no TensorBoard logs: `pip install 'steer-anomaly[tensorboard]'` gives them")
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)
