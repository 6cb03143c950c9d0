"""Scores maps that lie on disk, whoever made them: finds each image's map, and how sure the figures are.

The model that made them is not needed. Figures come from `anomaly.evaluation.scoring`, intervals from a bootstrap over
images.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.labelled import ImageScore, Problem, TestImages, safe_name
from anomaly.metrics.bootstrap import ImageSamples, PixelSamples, confidence_intervals, paired_difference
from anomaly.pictures.maps import MAP_SUFFIXES, read_map
from anomaly.testsets.cards import METRICS
from anomaly.testsets.folder_layout import MASK_ENDINGS
from anomaly.testsets.samples import Sample, image_size_hw, read_mask

IMAGE_SCORES: dict[str, Callable[[np.ndarray], float]] = {
    "max": lambda score_map: float(score_map.max()),
    "top": lambda score_map: float(np.sort(score_map, axis=None)[-max(1, score_map.size // 1000) :].mean()),
}


@dataclass(frozen=True)
class MapSet:
    """The maps of one method for one category. `resize` enlarges or shrinks maps to their image's size."""

    paths: dict[str, Path]
    resize: bool = False

    def read(self, sample: Sample) -> np.ndarray:
        """The map of `sample`, float32 H x W at its image's size.

        Raises `SteerAnomalyError` when it has another size and `resize` is off, or cannot be used.
        """
        score_map, size_hw = read_map(self.paths[sample.key]), image_size_hw(sample.image)
        if score_map.shape == size_hw:
            return score_map
        if not self.resize:
            raise SteerAnomalyError(
                f"{self.paths[sample.key]}: the map is {score_map.shape[1]} x {score_map.shape[0]} px, its image "
                f"{size_hw[1]} x {size_hw[0]} px. Figures are defined at the image's own size: write the map at "
                "that size, or have it resized bilinearly (`resize`)"
            )
        import cv2

        return cv2.resize(score_map, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)


def find_maps(folder: Path, images: TestImages, resize: bool = False) -> MapSet:
    """The map of every image: `<category>/test/<defect>/<stem>` below `folder` or its `maps/`, or less.

    Raises `SteerAnomalyError` naming the first that is missing, and how many are.
    """
    base = folder / "maps" if (folder / "maps").is_dir() else folder
    stems = [Path(s.key).name for s in images.samples]
    flat = len(set(stems)) == len(stems)
    found = {s.key: path for s in images.samples if (path := _find(base, images.name, s, flat))}
    if missing := [s.key for s in images.samples if s.key not in found]:
        raise SteerAnomalyError(
            f"{base / images.name / missing[0]}.tiff: no such map, nor .npy or .png ({len(missing)} of "
            f"{len(stems)} images have none). Every test image needs one, good images too, named as MVTec's "
            "evaluation code expects: <category>/test/<defect>/<image>.tiff"
        )
    return MapSet(found, resize)


def _find(base: Path, category: str, sample: Sample, flat: bool) -> Path | None:
    keys = [sample.key]
    if sample.image in sample.masks:  # a mask stands for its image, whose name has no `_mask` at its end
        keys += [sample.key.removesuffix(end) for end in MASK_ENDINGS if end and sample.key.endswith(end)]
    names: list[str] = []
    for key in keys:
        short = key.split("/", 1)[-1]
        names += [f"{category}/{key}", key, f"{category}/{short}", short]
        if flat:  # no two images share a file name, so the name alone is enough
            names += [f"{category}/{Path(key).name}", Path(key).name]
    candidates = (base / f"{name}{suffix}" for name in names for suffix in MAP_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class Bootstrap:
    """What the intervals of one category and method are drawn from."""

    scores: dict[str, ImageScore]
    problems: list[Problem]
    image: ImageSamples
    pixel: PixelSamples | None

    def intervals(self, draws: int) -> dict[str, dict[str, Any]]:
        """`anomaly.metrics.bootstrap.Interval` per metric of `METRICS`, as a mapping."""
        found = _named("image_", confidence_intervals(self.image, draws))
        return found | (_named("pixel_", confidence_intervals(self.pixel, draws)) if self.pixel else {})

    def minus(self, other: Bootstrap, draws: int) -> dict[str, dict[str, Any]]:
        """`anomaly.metrics.bootstrap.Difference` to another method on the same images, as a mapping."""
        found = _named("image_", paired_difference(self.image, other.image, draws))
        if self.pixel is None or other.pixel is None:
            return found
        return found | _named("pixel_", paired_difference(self.pixel, other.pixel, draws))


def gather(
    images: TestImages, maps: MapSet, limit: float, scores: dict[str, float], image_score: str = "max"
) -> Bootstrap:
    """Goes through all maps once. `scores` are image scores known by key; others come from the map.

    An image whose map or mask is unusable is left out, and named in `problems`.
    """
    only_labels = any(s.defective and not s.masks for s in images.samples)
    bootstrap = Bootstrap({}, [], ImageSamples(), None if only_labels else PixelSamples((limit,)))
    for sample in images.samples:
        try:
            score_map = maps.read(sample)
            mask = read_mask(sample, (score_map.shape[0], score_map.shape[1]))
        except SteerAnomalyError as error:
            bootstrap.problems.append(Problem(str(sample.image), str(error)))
            continue
        score = scores.get(sample.key, IMAGE_SCORES[image_score](score_map))
        bootstrap.scores[sample.key] = ImageScore(score)
        bootstrap.image.update(score, bool(sample.defective))
        if bootstrap.pixel is not None:
            bootstrap.pixel.update(score_map, mask)
    return bootstrap


def run_of(maps: Path) -> Path:
    """The run that maps belong to: `RUN` and `RUN/maps` are the same maps, with the same image scores."""
    return maps.parent if maps.name == "maps" and (maps.parent / "categories").is_dir() else maps


def known_scores(maps: Path, category: str) -> dict[str, float]:
    """Image scores by key, where `maps` are those of an evaluation of ours; empty elsewhere."""
    path = run_of(maps) / "categories" / f"{safe_name(category)}.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["result"]["images"]
        return {row["key"]: float(row["score"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def known_settings(maps: Path) -> dict[str, Any]:
    """What the model's settings were, where `maps` are those of an evaluation of ours; empty elsewhere."""
    try:
        settings = json.loads((run_of(maps) / "run.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _named(prefix: str, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    full = {
        (name if name.startswith("pro") else prefix + name): asdict(entry) for name, entry in found.items()
    }
    return {name: entry for name, entry in full.items() if name in METRICS}
