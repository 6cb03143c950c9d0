"""What a benchmark of steered features gives: its files, and the table beside the published figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomaly.evaluation.tables import text_table
from anomaly.runs.saving import explained, save_json
from anomaly.testsets.cards import Card


def table(card: Card, own: tuple[str, str, Mapping[str, float]] | None = None) -> str:
    """Published figures in percent; `own` is the first row: method, setting and fractions by measure."""
    measures = list(dict.fromkeys(key for row in card.published for key in row.values))
    rows = [
        [one.method, *_cells(one.values, measures, 1), f"{one.setting}; {one.source}"]
        for one in card.published
    ]
    if own is not None:
        method, setting, values = own
        rows = [[f"{method} (this run)", *_cells(values, measures, 100), setting], *rows]
    return text_table(["method", *measures, "setting, source"], rows)


def write(out: Path, results: Mapping[str, Any], run: Mapping[str, Any]) -> Path:
    """`results.json` and, beside it, `run.json` with the settings; returns the first. Raises `OutputError`."""
    with explained("results", out, None):
        save_json(out / "run.json", run)
        save_json(out / "results.json", results)
    return out / "results.json"


def problems_of(card: Card, root: Path) -> list[str]:
    """What is wrong with the data set of `card` in `root`, a sentence each."""
    from anomaly.steerability import core, genecis, mosaic, pods

    checks = {"core": core, "genecis": genecis, "pods": pods, "mosaic": mosaic}
    return checks[card.layout].problems(root)


def _cells(values: Mapping[str, float], measures: list[str], scale: int) -> list[str]:
    return [f"{scale * values[one]:.1f}" if one in values else "-" for one in measures]
