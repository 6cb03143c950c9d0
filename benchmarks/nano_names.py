"""Measures whether a model tells kinds of defects apart by name, on photographs whose folders say the kind.

    python benchmarks/nano_names.py FOLDER --object "magnetic tile" --name blowhole=hole --name fray=wear

FOLDER is a test set in MVTec layout with masks. Every defective image is asked for every kind there is, with the
sentence "the <kind> on the <object>" and nothing added to the logits; --name says what the kind of a folder is
called, where that is not the folder's name. Printed: the mean sigmoid on the mask for each name, and how often the
right name gives the most.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--object", "object_name", required=True, help="What the part is called.")
@click.option("--name", "names", multiple=True, metavar="FOLDER=NAME", help="Call a kind so; repeat it.")
@click.option("--leave-out", multiple=True, metavar="FOLDER", help="A kind that is not asked for; repeat it.")
@click.option("--model", default="nano", show_default=True)
def main(
    folder: Path, object_name: str, names: tuple[str, ...], leave_out: tuple[str, ...], model: str
) -> None:
    """Print a table of kinds and names."""
    from anomaly.decision.threshold import TEXT_ALONE
    from anomaly.inspector import Inspector
    from anomaly.pictures.images import read_image
    from anomaly.prompts import from_texts
    from anomaly.testsets.folder_layout import folder_samples
    from anomaly.testsets.samples import read_mask

    samples = [s for s in folder_samples(folder) if s.defective and s.image.parent.name not in leave_out]
    called = {kind: kind for kind in sorted({sample.image.parent.name for sample in samples})}
    called |= dict(name.split("=", 1) for name in names)
    loaded = Inspector(model).model
    asked = [
        Inspector(
            loaded, prompts=from_texts([f"the {name} on the {{object}}"]), activation="sigmoid", **TEXT_ALONE
        )
        for name in called.values()
    ]
    found: dict[str, list[list[float]]] = {kind: [] for kind in called}
    for sample in samples:
        image = read_image(sample.image)
        mask = read_mask(sample, image.shape[:2])
        if mask is not None and mask.any():
            maps = [inspector.inspect(image, object_name).heatmap for inspector in asked]
            found[sample.image.parent.name].append([float(heatmap[mask].mean()) for heatmap in maps])
    print(f"| folder | images | {' | '.join(called.values())} | right name first |")
    print("| --- " * (len(called) + 3) + "|")
    for place, (kind, rows) in enumerate(found.items()):
        right = np.mean([int(np.argmax(row)) == place for row in rows])
        means = " | ".join(f"{value:.2f}" for value in np.mean(rows, 0))
        print(f"| {kind} | {len(rows)} | {means} | {right:.0%} |")
    print(f"by chance: {1 / len(called):.0%}")


if __name__ == "__main__":
    main()
