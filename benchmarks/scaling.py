"""Seconds against image size, prompts, tiles and batch, in torch and in OpenVINO: four curves and their plot.

    python benchmarks/scaling.py --out docs/speed.png          # all points, four minutes on two cores
    python benchmarks/scaling.py --only "prompts=10"           # one of them

nano's weights, fp32. Every point is the median of `--repeats` runs of both runtimes by turns, after one that does not
count. With `--save FILE` the figures are kept, and `--drawn-from FILE` draws them again without measuring.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from runtimes import PART, nano_at, patch_of, run_by, tiles_of, written

from anomaly import Inspector, threads
from anomaly.prompts import from_texts, load

OWN = 384  # px, nano's own size
TEXTS = 10
POINTS = {
    "size": (192, 384, 516, 768),  # px a side of the model's image
    "prompts": (1, 5, 10, 20),
    "tiles": (1, 2, 3, 4),  # a side: n x n tiles of one picture, one call
    "batch": (1, 2, 4, 8),
}
NAMED = {
    "size": "side of the model's image, px",
    "prompts": "prompts",
    "tiles": "tiles along each side",
    "batch": "pictures at a time",
}
COLOURS = {"torch": "#c2410c", "OpenVINO": "#0f4c81"}

Points = dict[str, dict[int, dict[str, float]]]  # seconds a picture by axis, value and runtime


class Graphs:
    """Graphs of nano, each written once: all points but those of other sizes share what looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._looks: dict[int, dict[str, Path]] = {}

    def at(self, size: int, prompts: int) -> tuple[Inspector, Any]:
        """An inspector in torch, and the same model run by OpenVINO: tiles -> logits."""
        if (size, prompts) not in self._made:
            texts = [*load("default").prompts, *(f"{one} part" for one in load("default").prompts)]
            inspector = Inspector(nano_at(size), prompts=from_texts(texts[:prompts]))
            look, steer = written(inspector, self._folder / f"{size}-{prompts}", self._looks.get(size))
            self._looks[size] = look
            run = run_by("openvino", "fp32", look, steer, patch_of(inspector))
            self._made[size, prompts] = inspector, run
        return self._made[size, prompts]


def point(axis: str, value: int, repeats: int, graphs: Graphs) -> dict[str, float]:
    """Median seconds of one picture (of one batch of pictures / its number) by runtime."""
    inspector, run_graphs = graphs.at(value if axis == "size" else OWN, value if axis == "prompts" else TEXTS)
    count = value**2 if axis == "tiles" else value if axis == "batch" else 1
    tiles, asked = tiles_of(inspector, count), inspector.asked
    ways: dict[str, Any] = {
        "torch": lambda: asked.segment(tiles, PART).maps,
        "OpenVINO": lambda: run_graphs(tiles),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    pictures = value if axis == "batch" else 1
    return {name: statistics.median(one) / pictures for name, one in seconds.items()}


def plot(found: Points, out: Path) -> None:
    """Draw the curves side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 2.9), layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for panel, (axis, points) in zip(panels, found.items(), strict=True):
            for name, colour in COLOURS.items():
                heights = [1000 * one[name] for one in points.values()]
                panel.plot(list(points), heights, "o-", color=colour, label=name, linewidth=1.6, markersize=4)
            panel.set(xlabel=NAMED[axis], xticks=list(points), ylim=(0, None))
            panel.grid(axis="y", color="#e5e5e5", linewidth=0.8)
            panel.set_axisbelow(True)
        panels[0].set_ylabel("milliseconds a picture")
        panels[0].legend(frameon=False)
        figure.savefig(out, dpi=130)


def measured(only: tuple[str, ...], repeats: int) -> Points:
    """Every point that is asked for, printed as it is measured."""
    wanted = [one.partition("=") for one in only]
    found: Points = {}
    with TemporaryDirectory() as folder:
        graphs = Graphs(Path(folder))
        for axis, values in POINTS.items():
            for value in values:
                if wanted and not any(axis == a and v in ("", str(value)) for a, _, v in wanted):
                    continue
                found.setdefault(axis, {})[value] = one = point(axis, value, repeats, graphs)
                print(f"| {axis}={value} | {one['torch']:.3f} | {one['OpenVINO']:.3f} |", flush=True)
    return found


@click.command()
@click.option(
    "--only", multiple=True, metavar="AXIS[=VALUE]", help="Only this curve or point; may be repeated."
)
@click.option("--repeats", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to draw the plot.")
@click.option("--save", type=click.Path(path_type=Path), help="Where to keep the figures, as JSON.")
@click.option("--drawn-from", type=click.Path(path_type=Path, exists=True), help="Figures that were kept.")
def main(
    only: tuple[str, ...], repeats: int, out: Path | None, save: Path | None, drawn_from: Path | None
) -> None:
    """Print every point as it is measured, and draw the plot."""
    if drawn_from is not None:
        stored = json.loads(drawn_from.read_text())
        found = {axis: {int(value): one for value, one in points.items()} for axis, points in stored.items()}
    else:
        threads.use()
        print(f"nano, fp32, {threads.chosen()} threads, median of {repeats}\n")
        print("| point | torch, s a picture | OpenVINO, s a picture |\n|---|---|---|")
        found = measured(only, repeats)
    if save is not None:
        save.write_text(json.dumps(found, indent=1))
    if out is not None:
        plot(found, out)


if __name__ == "__main__":
    main()
