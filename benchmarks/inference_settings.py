"""Measures what every inference setting does to a model's maps, all settings in one run.

    python benchmarks/inference_settings.py NAME=FOLDER ... [--per-set 20] [--model nano]

Each folder is a test set as `steer-anomaly eval folder` takes it, NAME what the part is called. One setting at a
time departs from the model's defaults. Figures are pixel AUROC / PRO / F1-max in % at the images' own size, the
mean over the sets, and image AUROC over the sets that have good images; differences below a point mean little.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

SETTINGS: dict[str, dict] = {
    "defaults": {},
    "--activation softmax": {"activation": "softmax"},
    "--activation logit": {"activation": "logit"},
    "--smooth 0": {"smooth": 0.0},
    "--smooth 4": {"smooth": 4.0},
    "--smooth 8": {"smooth": 8.0},
    "--self-similarity 0": {"self_similarity": 0.0},
    "--self-similarity 0.3": {"self_similarity": 0.3},
    "--self-similarity 0.6": {"self_similarity": 0.6},
    "--self-similarity 1": {"self_similarity": 1.0},
    "--self-similarity 2": {"self_similarity": 2.0},
    "--dark-lines 0": {"dark_lines": 0.0},
    "--dark-lines 0.1": {"dark_lines": 0.1},
    "--dark-lines 0.2": {"dark_lines": 0.2},
    "--dark-lines 0.4": {"dark_lines": 0.4},
    "--dark-lines 0.8": {"dark_lines": 0.8},
    "--guided 0": {"guided": 0.0},
    "--guided 20": {"guided": 20.0},
    "--guided 60": {"guided": 60.0},
    "both 0": {"self_similarity": 0.0, "dark_lines": 0.0},
    "--omega 0": {"omega": 0.0},
    "--omega 0.5": {"omega": 0.5},
    "--omega 1.5": {"omega": 1.5},
    "--prompts single": {"prompts": "single"},
    "--prompts contrast": {"prompts": "contrast"},
    "--scales 1,2": {"scales": "1,2"},
    "--tiles 2": {"scales": "2"},
}


@click.command()
@click.argument("sets", nargs=-1, required=True, metavar="NAME=FOLDER...")
@click.option("--per-set", default=20, show_default=True, help="Images of each set, evenly chosen.")
@click.option("--model", default="nano", show_default=True)
@click.option("--only", multiple=True, help="A setting of the list in the file; repeat it.")
def main(sets: tuple[str, ...], per_set: int, model: str, only: tuple[str, ...]) -> None:
    """Print one line per setting."""
    from anomaly.inspector import Inspector

    chosen = {name: _read(Path(folder), per_set) for name, folder in (one.split("=", 1) for one in sets)}
    for setting in only or SETTINGS:
        inspector = Inspector(model, **SETTINGS[setting])
        rows = np.array([_measure(inspector, name, images) for name, images in chosen.items()])
        mean = rows[:, :3].mean(0)
        single = " ".join("/".join(f"{value:.0f}" for value in row[:3]) for row in rows)
        print(f"| `{setting}` | {mean[0]:.1f} / {mean[1]:.1f} / {mean[2]:.1f} | {np.nanmean(rows[:, 3]):.0f} | "
              f"{single} |", flush=True)  # fmt: skip


def _read(folder: Path, count: int) -> list:
    from anomaly.pictures.images import read_image
    from anomaly.testsets.folder_layout import folder_samples
    from anomaly.testsets.samples import read_mask

    samples = folder_samples(folder)
    picked = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int))
    images = []
    for sample in (samples[i] for i in picked):
        image = read_image(sample.image)
        mask = read_mask(sample, image.shape[:2]) if sample.defective else np.zeros(image.shape[:2], bool)
        if mask is not None and (mask.any() or not sample.defective):
            images.append((image, mask, bool(sample.defective)))
    return images


def _measure(inspector, name: str, images: list) -> list[float]:
    from anomaly.metrics import ImageMetrics, PixelMetrics

    pixels, whole = PixelMetrics(), ImageMetrics()
    for image, mask, defective in images:
        found = inspector.inspect(image, name)
        pixels.update(found.heatmap, mask)
        whole.update(found.score, defective)
    figures = pixels.compute()
    both = len({defective for *_, defective in images}) == 2
    values = [
        figures["auroc"],
        figures["pro"],
        figures["f1_max"],
        whole.compute()["auroc"] if both else np.nan,
    ]
    return [100 * float(value) for value in values]


if __name__ == "__main__":
    main()
