"""Which layer, and how strongly: a grid on questions that are not the test's, and then the test, once.

Every finished cell is kept, so that a grid goes on where it stopped. Knows no model: a function answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from anomaly.errors import SteerAnomalyError
from steervit.files import write_whole

LAYERS = tuple(range(5, 21))  # the paper's
RAW = tuple(round(0.1 * step, 1) for step in range(1, 13))
UNIT = tuple(float(5 * step) for step in range(1, 13))


@dataclass(frozen=True)
class Cell:
    """Share of questions (0..1) answered rightly with `alpha` at `layer`; alpha 0 is the model as it is."""

    layer: int
    alpha: float
    correct: float
    questions: int


Accuracy = Callable[
    [int, float, str], tuple[float, int]
]  # layer, alpha, "choice" or "test" -> share, questions


def run_grid(
    accuracy: Accuracy, layers: Sequence[int], alphas: Sequence[float], path: Path, settings: dict
) -> dict:
    """Fill the grid, choose, test; all of it in the JSON file `path`, which is returned.

    The best cell is the most often right one; of equals the weakest, then the lowest layer. Where none beats alpha 0
    on the questions to choose on, nothing is applied and the test is the model's own. Raises `SteerAnomalyError`
    when `path` holds another grid.
    """
    state = _begun(path, settings)
    cells = {(one["layer"], one["alpha"]): Cell(**one) for one in state["cells"]}
    for layer, alpha in [(0, 0.0), *((layer, alpha) for layer in layers for alpha in alphas)]:
        if (layer, alpha) not in cells:
            cells[layer, alpha] = Cell(layer, alpha, *accuracy(layer, alpha, "choice"))
            state["cells"] = [asdict(one) for one in cells.values()]
            _keep(path, state)
    best = min(cells.values(), key=lambda one: (-one.correct, one.alpha, one.layer))
    if "test" not in state:
        plain = Cell(0, 0.0, *accuracy(0, 0.0, "test"))
        steered = (
            plain
            if best.alpha == 0
            else Cell(best.layer, best.alpha, *accuracy(best.layer, best.alpha, "test"))
        )
        state |= {"best": asdict(best), "test": {"plain": asdict(plain), "steered": asdict(steered)}}
        _keep(path, state)
    return state


def _begun(path: Path, settings: dict) -> dict:
    if not path.exists():
        return {"settings": settings, "cells": []}
    try:
        state = json.loads(path.read_text())
    except ValueError as error:
        raise SteerAnomalyError(f"expected a grid in {path}, it is not readable: {error}") from error
    if state.get("settings") != json.loads(json.dumps(settings)):
        raise SteerAnomalyError(f"{path} holds a grid of other settings: give another --out, or delete it")
    return state


def _keep(path: Path, state: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(state, indent=1))
