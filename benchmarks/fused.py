"""What a fused ensemble and a cascade lose: PRO, maps and scores beside the exact one, on rendered scenes.

    python benchmarks/fused.py [--model nano] [--scenes 100] [--seed 800000]

All look at the same pictures, by turns. The model is one that was trained: random weights say nothing of PRO. For
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
from anomaly.inspection import Inspection
from anomaly.metrics import PixelMetrics
from steervit.nano.scenes.scene import render_scene

WAYS = ("exact", "cascade", "fused")


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
    """Print what each way finds, and what one image takes."""
    from anomaly.decision.threshold import TEXT_ALONE

    threads.use()
    more = TEXT_ALONE if text_alone else {}
    ways = {name: Inspector(model, ensemble=None if name == "exact" else name, **more) for name in WAYS}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    seen: dict[str, list[Inspection]] = {name: [] for name in ways}
    masks = []
    for number in range(scenes):
        scene = render_scene(seed + number, size)
        masks.append(scene.defects)
        for name, inspector in ways.items():
            began = time.perf_counter()
            seen[name].append(inspector.inspect(scene.image, scene.object_name))
            seconds[name].append(time.perf_counter() - began)
    print(f"{model}, {scenes} scenes of {size} px from seed {seed}, ten prompts\n")
    print("| ensemble | PRO | pixel AUROC | median s per image | rank correlation of maps, lowest | largest difference "
          "of a map | of a score | verdicts flipped |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, found in seen.items():
        print(f"| {name} | {_figures(found, masks)} | {statistics.median(seconds[name]):.3f} | "
              f"{_beside(found, seen['exact'])} |")  # fmt: skip


def _figures(found: list[Inspection], masks: list[np.ndarray]) -> str:
    metrics = PixelMetrics((0.3,))
    for one, mask in zip(found, masks, strict=True):
        metrics.update(one.heatmap, mask)
    figures = metrics.compute()
    return f"{100 * figures['pro']:.2f} | {100 * figures['auroc']:.2f}"


def _beside(found: list[Inspection], exact: list[Inspection]) -> str:
    """Verdicts are taken at the median of the exact scores, where they flip most easily."""
    pairs = list(zip(found, exact, strict=True))
    ranks = [correlation(one.heatmap, other.heatmap) for one, other in pairs]
    maps = max(float(np.abs(one.heatmap - other.heatmap).max()) for one, other in pairs)
    scores, expected = (np.array([one.score for one in some]) for some in (found, exact))
    level = np.median(expected)
    flips = int(((scores >= level) != (expected >= level)).sum())
    return f"{min(ranks):.5f} | {maps:.1e} | {np.abs(scores - expected).max():.1e} | {flips}"


if __name__ == "__main__":
    main()
