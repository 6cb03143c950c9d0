"""How text, company and references become one map: each alone and together, on any test sets.

    python benchmarks/evidence_weights.py ROOT=OBJECT [ROOT=OBJECT ...] [--shots 10] [--seeds 0,1,2] [--cache DIR]

ROOT holds test/KIND/, ground_truth/KIND/ and perhaps train/good/; OBJECT is what the part is called. Maps are compared
at 256 x 256 pixels, images by the mean of the top 0.5 % of their map. The mutual part is written plainly here, and
compares all images with all others: 50 images take about half a minute.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from anomaly.comparison import softened
from anomaly.evidence.border_scale import bordered_scale
from anomaly.evidence.descriptions import Description, content_hash
from anomaly.evidence.references import MemoryBank, References, Subspace
from anomaly.heatmaps import TOP_IN_COMPANY, image_score
from anomaly.inspector import Inspector
from anomaly.metrics import PixelMetrics
from anomaly.pictures.images import read_image
from steervit.nano.eyes import Eyes, prepare

SIDE = 256  # pixels at which maps and masks are compared
LOWEST = 0.3  # share of the other images that count
WEIGHTS = (0.5, 1.0, 2.0)


class Pictures:
    """Images of one kind, their own maps in logits (N, SIDE, SIDE), and their patches' descriptions."""

    def __init__(self, paths: list[Path], name: str, inspector: Inspector, eyes: Eyes, cache: Path) -> None:
        self.paths, self.own, self.seen = paths, [], []
        for path in paths:
            image = read_image(path)
            kept = cache / f"{content_hash(image)}-{name.replace(' ', '_')}.npz"
            if not kept.exists():
                own = inspector.inspect(image, name).heatmap
                own = cv2.resize(own, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
                patches = eyes.see(prepare(image)[None])[0].numpy()
                np.savez(kept, own=own, patches=patches.astype(np.float16))
            with np.load(kept) as file:
                patches = file["patches"].astype(np.float32)
                self.own.append(file["own"])
            side = round(len(patches) ** 0.5)
            self.seen.append(Description(patches.reshape(side, side, -1), content_hash(image)))


@torch.inference_mode()
def mutual(seen: list[Description]) -> list[np.ndarray]:
    """Of each image the mean over the nearest share of the others of its patches' distances to their nearest."""
    rows = [torch.from_numpy(one.rows()) for one in seen]
    maps = []
    for i, mine in enumerate(rows):
        each = [torch.cdist(mine, other).amin(1) for j, other in enumerate(rows) if j != i]
        kept = torch.stack(each).sort(0).values[: max(1, round(LOWEST * len(each)))]
        maps.append(kept.mean(0).numpy().reshape(seen[i].grid))
    return maps


def z_scores(maps: list[np.ndarray], good: list[np.ndarray] | None = None) -> np.ndarray:
    """Maps of a run on the robust scale of that run, or of good pictures' maps, with its border's; (N, SIDE, SIDE)."""
    scale = bordered_scale(maps if good is None else good)
    return np.stack([cv2.resize(scale(one), (SIDE, SIDE)) for one in maps])


def added(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Text speaks for a defect and never against what company or references find odd."""
    return np.maximum(own, 0) + others


def shipped(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """As `Comparison.total` adds."""
    return added(own, softened(others))


def figures(maps: np.ndarray, masks: list[np.ndarray | None]) -> list[float]:
    """Pixel AUROC, PRO, F1-max and image AUROC, in %; the last NaN without good images."""
    metrics = PixelMetrics()
    for one, mask in zip(maps, masks, strict=True):
        metrics.update(one.astype(np.float32), mask)
    result, labels = metrics.compute(), [mask is not None for mask in masks]
    image = (
        roc_auc_score(labels, [image_score(one, TOP_IN_COMPANY) for one in maps])
        if len(set(labels)) > 1
        else np.nan
    )
    return [100 * float(value) for value in (result["auroc"], result["pro"], result["f1_max"], image)]


def show(label: str, rows: list[list[float]]) -> None:
    """A row of the table: the mean over sets, then each set."""
    cells = ["{:.1f}/{:.1f}/{:.1f}, {:.0f}".format(*row) for row in [np.nanmean(rows, 0).tolist(), *rows]]
    click.echo(f"| {label} | " + " | ".join(cells) + " |")


def mask_of(path: Path) -> np.ndarray | None:
    """The mask of a test image at SIDE x SIDE; None for a good one."""
    if path.parent.name == "good":
        return None
    folder = path.parents[2] / "ground_truth" / path.parent.name
    file = next(
        one for one in (folder / f"{path.stem}_mask.png", folder / f"{path.stem}.png") if one.exists()
    )
    mask = (read_image(file)[..., 0] > 127).astype(np.uint8)
    return cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 0


def company(pictures: Pictures) -> dict[str, np.ndarray]:
    """Maps by name without any reference: own, mutual and their sums."""
    own, others = z_scores(pictures.own), z_scores(mutual(pictures.seen))
    return {
        "own": own,
        "mutual": others,
        "larger of the two": np.maximum(own, others),
        "plain sum": own + others,
        "shipped": shipped(own, others),
        "both above 0": np.maximum(own, 0) + np.maximum(others, 0),
        **{f"own + {weight:g} mutual": added(own, weight * others) for weight in WEIGHTS},
    }


def few(pictures: Pictures, good: Pictures, picked: np.ndarray) -> dict[str, np.ndarray]:
    """Maps by name with some good pictures as references."""
    own = z_scores(pictures.own, [good.own[i] for i in picked])
    maps = {}
    for name, way in (("references", MemoryBank), ("subspace", Subspace)):
        references = References([good.seen[i] for i in picked], way)
        odd = np.stack([cv2.resize(references.oddness(one), (SIDE, SIDE)) for one in pictures.seen])
        maps |= {name: odd} | {f"own + {weight:g} {name}": added(own, weight * odd) for weight in WEIGHTS}
    maps["shipped"] = shipped(own, maps["references"])
    return maps | {"references + subspace": maps["references"] + maps["subspace"]}


@click.command()
@click.argument("sets", nargs=-1, required=True)
@click.option("--shots", default=10)
@click.option("--seeds", default="0,1,2")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("evidence-cache"))
def main(sets: tuple[str, ...], shots: int, seeds: str, cache: Path) -> None:
    """See the top of this file."""
    cache.mkdir(parents=True, exist_ok=True)
    inspector, eyes = Inspector("nano", activation="logit"), Eyes.from_pretrained()
    rows: dict[str, list[list[float]]] = {}
    rows_few: dict[str, list[list[float]]] = {}
    for root, name in (one.split("=", 1) for one in sets):
        paths = sorted(path for path in Path(root).glob("test/*/*") if path.is_file())
        pictures, masks = Pictures(paths, name, inspector, eyes, cache), [mask_of(path) for path in paths]
        for label, maps in company(pictures).items():
            rows.setdefault(label, []).append(figures(maps, masks))
        good = Pictures(sorted(Path(root).glob("train/good/*")), name, inspector, eyes, cache)
        if len(good.paths) < shots:
            continue
        each: dict[str, list[list[float]]] = {}
        for seed in map(int, seeds.split(",")):
            picked = np.random.default_rng(seed).choice(len(good.paths), shots, replace=False)
            for label, maps in few(pictures, good, picked).items():
                each.setdefault(label, []).append(figures(maps, masks))
        for label, values in each.items():
            rows_few.setdefault(label, []).append(np.mean(values, 0).tolist())
    for table in (rows, rows_few):
        for label, values in table.items():
            show(label, values)


if __name__ == "__main__":
    main()
