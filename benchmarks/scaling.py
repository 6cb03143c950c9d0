"""Seconds against image size, prompts, tiles and batch, in torch and in OpenVINO: four curves and their plot.

    python benchmarks/scaling.py --out docs/speed.png          # all points
    python benchmarks/scaling.py --only "prompts=10"           # one of them

nano's weights, fp32. Every point is the median of `--repeats` runs of both runtimes by turns; the graph of a point is
made for it.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from runtimes import graphs_of, nano_at, tiles_of

from anomaly import Inspector, threads
from anomaly.prompts import from_texts, load

POINTS = {
    "size": (192, 288, 384, 516, 768),  # px a side of the model's image
    "prompts": (1, 2, 5, 10, 20),
    "tiles": (1, 2, 3, 4),  # a side: n x n tiles of one picture, one call
    "batch": (1, 2, 4, 8, 16),
}


def point(axis: str, value: int, repeats: int, folder: Path) -> dict[str, float]:
    """Median seconds of one picture (of one batch of pictures / its number) by runtime."""
    texts = [*load("default").prompts, *(f"{one} part" for one in load("default").prompts)]
    prompts = from_texts(texts[: value if axis == "prompts" else 10])
    model = nano_at(value if axis == "size" else 384)
    inspector = Inspector(model, prompts=prompts)
    count = value**2 if axis == "tiles" else value if axis == "batch" else 1
    tiles, asked = tiles_of(inspector, count), inspector.asked
    run_graphs = graphs_of(inspector, "openvino", "fp32", folder / f"{axis}{value}")
    ways: dict[str, Any] = {
        "torch": lambda: asked.segment(tiles, "bottle").maps,
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


def plot(found: dict[str, dict[int, dict[str, float]]], out: Path) -> None:
    """Draw the curves side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.4), layout="constrained")
    named = {
        "size": "image side, px",
        "prompts": "prompts",
        "tiles": "tiles a side",
        "batch": "pictures at a time",
    }
    for place, (axis, points) in enumerate(found.items(), 1):
        panel = figure.add_subplot(1, len(found), place)
        for name in ("torch", "OpenVINO"):
            panel.plot(list(points), [1000 * one[name] for one in points.values()], "o-", label=name)
        panel.set(xlabel=named[axis], ylabel="ms a picture", ylim=(0, None))
        panel.legend()
    figure.savefig(out, dpi=110)


@click.command()
@click.option(
    "--only", multiple=True, metavar="AXIS[=VALUE]", help="Only this curve or point; may be repeated."
)
@click.option("--repeats", default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where to draw the plot.")
def main(only: tuple[str, ...], repeats: int, out: Path | None) -> None:
    """Print every point as it is measured, and draw the plot."""
    threads.use()
    wanted = [one.partition("=") for one in only]
    found: dict[str, dict[int, dict[str, float]]] = {}
    with TemporaryDirectory() as folder:
        for axis, values in POINTS.items():
            for value in values:
                if wanted and not any(axis == a and v in ("", str(value)) for a, _, v in wanted):
                    continue
                found.setdefault(axis, {})[value] = one = point(axis, value, repeats, Path(folder))
                print(f"{axis}={value}: " + json.dumps({k: round(v, 4) for k, v in one.items()}), flush=True)
    if out is not None:
        plot(found, out)
    assert np.isfinite([v for a in found.values() for p in a.values() for v in p.values()]).all()


if __name__ == "__main__":
    main()
