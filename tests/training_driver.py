"""Run by tests in processes of their own: trains the tiny model on drawn squares.

python training_driver.py OUT [--kill-at STEP] [--resume] [KEY=VALUE ...]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from drawn_supply import Squares, small_recipe

from steervit.processes import joined
from steervit.training.build import prepare_model
from steervit.training.loop import Trainer


class Killing(Squares):
    """Dies by SIGKILL when a step is read."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def training(self, step, slot):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training(step, slot)


def main(out: Path, arguments: list[str]) -> None:
    torch.set_num_threads(1)
    at = int(arguments[arguments.index("--kill-at") + 1]) if "--kill-at" in arguments else None
    recipe = small_recipe("steervit-dinov2-base", *[one for one in arguments if "=" in one])
    supply = Squares() if at is None else Killing(at)
    with joined("cpu") as processes:
        model = prepare_model(recipe, out, supply.expressions)
        Trainer(recipe, model, supply, out, processes, out.parent / "text-driver").run(
            "--resume" in arguments
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
