"""Few-shot figures over seeds as text and JSON: mean and standard deviation. Formats numbers; computes none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomaly.evaluation.run import write_json
from anomaly.evaluation.shots import OverSeeds
from anomaly.evaluation.summary import headline
from anomaly.evaluation.tables import footnotes, table, text_table, title


def text(found: OverSeeds, shots: int) -> str:
    """The table for the terminal, in percent, mean and deviation over the seeds, and published figures below it."""
    first = found.summaries[0]
    head = ["category", *map(title, found.columns)]
    rows = [[name, *(_cell(found.figure(c, name)) for c in found.columns)] for name in found.categories]
    rows.append(["mean", *(_cell(found.figure(c)) for c in found.columns)])
    lines = [headline(first), f"{shots} good images of each category; {_seeds(found)}", ""]
    lines += [text_table(head, rows)]
    if published := table(first)[3]:
        lines += ["", "published, mean over all categories:", text_table(table(first)[0], published)]
    return "\n".join([*lines, "", *footnotes(first)])


def write_over_seeds(found: OverSeeds, out: Path) -> None:
    """Writes `out/metrics.json`: fractions, mean and deviation. Raises `SteerAnomalyError` when that fails."""
    write_json(out / "metrics.json", to_json(found))


def to_json(found: OverSeeds) -> dict[str, Any]:
    """Each metric as {mean, deviation}, None where a seed has none."""
    first = found.summaries[0]

    def figures(category: str | None) -> dict[str, Any]:
        known = {metric: found.figure(metric, category) for metric in found.columns}
        return {metric: one and {"mean": one[0], "deviation": one[1]} for metric, one in known.items()}

    return {
        "benchmark": first.title,
        "model": first.model,
        "setting": first.setting,
        "seeds": list(found.seeds),
        "notes": list(dict.fromkeys(note for one in found.summaries for note in one.notes)),
        "categories": {name: figures(name) for name in found.categories},
        "mean": figures(None),
        "settings": [one.settings for one in found.summaries],
    }


def _seeds(found: OverSeeds) -> str:
    if len(found.seeds) == 1:
        return f"drawn by seed {found.seeds[0]}"
    return f"mean and standard deviation over the seeds {', '.join(map(str, found.seeds))}"


def _cell(figure: tuple[float, float] | None) -> str:
    return "-" if figure is None else f"{100 * figure[0]:.1f} ±{100 * figure[1]:.1f}"
