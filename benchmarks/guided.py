"""What it costs a picture that its map follows it: `--guided` beside `--guided 0`, by turns in one run.

    python benchmarks/guided.py [--side 512] [--repeats 15] [--model nano]

One drawn picture, ten prompts, all threads; prints milliseconds a picture, median of the repeats, and their difference.
"""

from __future__ import annotations

import statistics
import time

import click


@click.command()
@click.option("--side", default=512, show_default=True, help="Pixels along a side of the picture.")
@click.option("--repeats", default=15, show_default=True)
@click.option("--model", default="nano", show_default=True)
def main(side: int, repeats: int, model: str) -> None:
    """Print three numbers."""
    from anomaly.inspector import Inspector
    from steervit.nano.scenes.scene import render_scene

    image = render_scene(960_000, side).image
    inspectors = {radius: Inspector(model, guided=radius) for radius in (0, 35)}
    taken: dict[int, list[float]] = {radius: [] for radius in inspectors}
    for turn in range(repeats + 1):
        for radius, inspector in inspectors.items():
            began = time.perf_counter()
            inspector.inspect(image, "part")
            if turn:  # the first loads the model
                taken[radius].append((time.perf_counter() - began) * 1000)
    off, on = (statistics.median(found) for found in taken.values())
    print(f"off {off:.1f} ms, followed {on:.1f} ms, {on - off:.1f} ms more")


if __name__ == "__main__":
    main()
