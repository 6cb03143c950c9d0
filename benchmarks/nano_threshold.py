"""Measures the threshold that nano ships with, on rendered scenes that were not trained on.

    python benchmarks/nano_threshold.py [--scenes 300] [--false-alarms 0.05] [--shiny]

The threshold is the score that the given share of good scenes reaches; the mask threshold is the heatmap value
with the best pixel F1 on defective scenes, never above it. Prints the
operating point for `steervit/nano/weights/inspection.yaml`.
"""

from __future__ import annotations

import click
import numpy as np
import yaml

FIRST_SEED = 800_000  # training takes others: from 0, and from 2**30


@click.command()
@click.option("--scenes", default=300, show_default=True, help="Good scenes, and as many defective ones.")
@click.option(
    "--false-alarms", default=0.05, show_default=True, help="Share of good scenes judged defective."
)
@click.option("--shiny", is_flag=True, help="Glass and bare metal alone.")
@click.option("--model", default="nano", show_default=True)
def main(scenes: int, false_alarms: float, shiny: bool, model: str) -> None:
    """Print threshold, mask threshold, and what they give on held-out scenes."""
    from tqdm import tqdm

    from anomaly.inspector import Inspector
    from anomaly.metrics import ImageMetrics, PixelMetrics
    from steervit.nano.scenes.scene import render_scene

    inspector = Inspector(model)
    pixels, images = PixelMetrics(), ImageMetrics()
    scores: dict[bool, list[float]] = {False: [], True: []}
    seed = FIRST_SEED
    with tqdm(total=2 * scenes) as bar:
        while min(len(scores[False]), len(scores[True])) < scenes:
            scene = render_scene(seed, 384, shiny=shiny)
            seed += 1
            defective = bool(scene.kinds)
            if len(scores[defective]) >= scenes:
                continue
            found = inspector.inspect(scene.image, scene.object_name)
            scores[defective].append(found.score)
            images.update(found.score, defective)
            pixels.update(found.heatmap, scene.defects)
            bar.update()
    threshold = float(np.quantile(scores[False], 1 - false_alarms))
    pixel, image = pixels.compute(), images.compute()
    found_share = float(np.mean(np.array(scores[True]) >= threshold))
    print(f"# held-out scenes: pixel AUROC {pixel['auroc']:.3f}, PRO {pixel['pro']:.3f}, F1-max {pixel['f1_max']:.3f}; "
          f"image AUROC {image['auroc']:.3f}; defective scenes found at the threshold: {found_share:.2f}")  # fmt: skip
    point = {
        "threshold": round(threshold, 4),
        "mask_threshold": round(min(threshold, float(pixel["threshold"])), 4),
        "false_alarm_rate": false_alarms,
        "source": f"reached by {false_alarms:.0%} of {scenes} held-out good renderings, not by photographs",
        "settings": inspector.settings.to_dict(),
    }
    print(yaml.safe_dump({"operating_point": point}, sort_keys=False, width=110))


if __name__ == "__main__":
    main()
