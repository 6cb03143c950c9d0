"""Draws the curves of a run from its metrics.jsonl: loss, pmass, learning rate, speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steervit.training.logs import METRICS, read_metrics


def plot_run(folder: Path, out: Path | None = None) -> Path:
    """Write the curves to `out` (default: curves.png in the run's folder), and return its path.

    Raises ValueError when `folder` holds no run or nothing was logged yet.
    """
    try:
        lines = read_metrics(folder)
    except FileNotFoundError:
        raise ValueError(f"no run in {folder}: expected {METRICS} in it, as `train --out` writes") from None
    if not lines:
        raise ValueError(
            f"{folder / METRICS} is empty: nothing was logged yet, wait for train.log_every steps"
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    trained = [line for line in lines if "loss" in line]
    for axis, key, title in zip(
        axes.flat,
        ("loss", "pmass", "lr", "images_per_s"),
        (
            "training loss",
            "pmass: training (grey), validation by source",
            "learning rate",
            "images per second",
        ),
        strict=True,
    ):
        grey = {"color": "0.75"} if key == "pmass" else {}
        axis.plot([one["step"] for one in trained], [one[key] for one in trained], linewidth=1, **grey)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
    _validation(axes[0, 1], [line for line in lines if "validation" in line])
    figure.suptitle(folder.resolve().name)
    out = out or folder / "curves.png"
    figure.savefig(out, dpi=110)
    return out


def _validation(axis: Any, lines: Sequence[dict[str, Any]]) -> None:
    names = sorted({name for line in lines for name in line["validation"]})
    for name in names:
        points = [(line["step"], line["validation"][name]) for line in lines if name in line["validation"]]
        width = 2.2 if name == "all" else 1
        axis.plot(*zip(*points, strict=True), marker=".", linewidth=width, label=name)
    if names:
        axis.legend(fontsize=8)
