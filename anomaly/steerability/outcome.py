"""What a benchmark of steered features gives: its files, and the table beside the published figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from anomaly.evaluation.run import claim_folder
from anomaly.evaluation.tables import text_table
from anomaly.runs import claim
from anomaly.runs.saving import explained, save_json
from anomaly.testsets.cards import Card
from steervit.processes import Processes


def table(card: Card, own: Sequence[tuple[str, str, Mapping[str, float]]] = ()) -> str:
    """Published figures in percent; `own` are the first rows: method, setting and fractions by measure."""
    measures = list(dict.fromkeys(key for row in card.published for key in row.values))
    measures += [
        key for _, _, values in own for key in values if key not in measures and _is_share(values[key])
    ]
    measures = list(dict.fromkeys(measures))
    rows = [
        [f"{method} (this run)", *_cells(values, measures, 100), setting] for method, setting, values in own
    ]
    rows += [
        [one.method, *_cells(one.values, measures, 1), f"{one.setting}; {one.source}"]
        for one in card.published
    ]
    return text_table(["method", *measures, "setting, source"], rows)


def begin(out: Path, about: Mapping[str, Any], processes: Processes) -> None:
    """Makes `out` this run's folder, or goes on with the same run in it: `run.json`.

    `about` has the keys `benchmark` and `settings`. Raises `OutputError` where the folder holds another run.
    """
    claim_folder(out, dict(about), processes)


def write(out: Path, results: Mapping[str, Any]) -> Path:
    """`results.json`, and in `run.json` that the run is finished; returns the first. Raises `OutputError`."""
    with explained("results", out, None):
        save_json(out / "results.json", results)
        record = claim.read_run(out) or {}
        save_json(out / "run.json", record | {"finished": True, "ended": claim.now()})
    return out / "results.json"


def problems_of(card: Card, root: Path) -> list[str]:
    """What is wrong with the data set of `card` in `root`, a sentence each."""
    problems: Callable[[Path], list[str]] = import_module(f"anomaly.steerability.{card.layout}").problems
    return problems(root)


def _is_share(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= 1


def _cells(values: Mapping[str, float], measures: list[str], scale: int) -> list[str]:
    return [f"{scale * values[one]:.1f}" if one in values else "-" for one in measures]
