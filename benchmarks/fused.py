"""What a fused ensemble loses: PRO and rank correlation beside the exact one, on rendered scenes (or a folder).

    python benchmarks/fused.py [--model nano] [--scenes 100] [--seed 800000]

Both look at the same pictures, by turns. The model is one that was trained: random weights say nothing of PRO. For
early fusion, where text goes through the trunk, as in the paper:

    steer-anomaly train nano --out runs/early --set model.fusion=early --set model.cross_attn_layers=[1,2,3] \\
      --set train.kinds=0
    python benchmarks/fused.py --model runs/early/last
"""

from __future__ import annotations

import statistics
import time

import click
import numpy as np

from anomaly import Inspector, threads
from anomaly.bundle.parity import correlation
from anomaly.metrics import PixelMetrics
from steervit.nano.scenes.scene import render_scene


@click.command()
@click.option("--model", default="nano", show_default=True)
@click.option("--scenes", default=100, show_default=True, help="Rendered scenes; about one in five is good.")
@click.option(
    "--seed", default=800_000, show_default=True, help="Of the first scene; training draws none of these."
)
@click.option("--size", default=320, show_default=True, help="Side of a scene in pixels.")
@click.option(
    "--text-alone", is_flag=True, help="Without other evidence and smoothing: what text says, and no more."
)
def main(model: str, scenes: int, seed: int, size: int, text_alone: bool) -> None:
    """Print both figures, and what one image takes in either way."""
    from anomaly.decision.threshold import TEXT_ALONE

    threads.use()
    more = TEXT_ALONE if text_alone else {}
    ways = {"exact": Inspector(model, **more), "fused": Inspector(model, ensemble="fused", **more)}
    metrics = {name: PixelMetrics((0.3,)) for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    ranks, scores = [], {name: [] for name in ways}
    for number in range(scenes):
        scene = render_scene(seed + number, size)
        maps = {}
        for name, inspector in ways.items():
            began = time.perf_counter()
            found = inspector.inspect(scene.image, scene.object_name)
            seconds[name].append(time.perf_counter() - began)
            maps[name] = found.heatmap
            scores[name].append(found.score)
            metrics[name].update(found.heatmap, scene.defects)
        ranks.append(correlation(maps["exact"], maps["fused"]))
    print(f"{model}, {scenes} scenes of {size} px from seed {seed}, ten prompts\n")
    print("| ensemble | PRO | pixel AUROC | median s per image |\n|---|---|---|---|")
    for name, one in metrics.items():
        found = one.compute()
        mid = statistics.median(seconds[name])
        print(f"| {name} | {100 * found['pro']:.2f} | {100 * found['auroc']:.2f} | {mid:.3f} |")
    between = correlation(*(np.asarray(one) for one in scores.values()))
    print(
        f"\nrank correlation of maps {np.mean(ranks):.5f} (lowest {min(ranks):.5f}), of scores {between:.5f}"
    )


if __name__ == "__main__":
    main()
