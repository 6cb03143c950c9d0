"""The figures of a benchmark over omega as a picture: the paper's trade-off between steering and representation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw_curve(path: Path, title: str, found: Mapping[float, Mapping[str, Any]]) -> Path:
    """A line for each measure of `global` that is a share (0..1), against omega, as PNG; returns `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    omegas = sorted(found)
    for name in shares(found):
        axes.plot(
            omegas, [100 * found[omega]["global"][name] for omega in omegas], marker="o", label=_word(name)
        )
    axes.set(title=title, xlabel="omega (0: the frozen trunk, 1: as trained)", ylabel="%")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def shares(found: Mapping[float, Mapping[str, Any]]) -> list[str]:
    """The measures that every omega has as a share of 1, in the order in which they were measured."""
    first = next(iter(found.values()))["global"]
    return [
        name
        for name in first
        if all(
            isinstance(value := one["global"].get(name), float) and 0 <= value <= 1 for one in found.values()
        )
    ]


def _word(name: str) -> str:
    return name.replace("_", " ").replace("@", " at ")
