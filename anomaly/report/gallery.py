"""Pictures of an evaluation: defects found best and worst, and good images that look most defective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.evaluation.labelled import ImageFigures, TestImages, safe_name
from anomaly.evaluation.scoring import CategoryResult
from anomaly.runs.saving import explained, save
from anomaly.testsets.samples import Sample, read_mask

EACH = 3
SIDE = 340  # px of one picture's longer side
KINDS = {"worst": "found worst", "best": "found best", "alarm": "good, but the highest scores"}


def chosen(result: CategoryResult) -> dict[str, list[ImageFigures]]:
    """Images by kind: `worst` and `best` by the PRO of the image's regions, or by score without masks."""
    defective = [image for image in result.images if image.defective]
    good = [image for image in result.images if image.defective is False]
    by = "pro" if defective and all(image.pro is not None for image in defective) else "score"
    ranked = sorted(defective, key=lambda image: (getattr(image, by), image.key))
    worst = ranked[: min(EACH, (len(ranked) + 1) // 2)]
    best = [image for image in reversed(ranked[-EACH:]) if image not in worst]
    alarms = sorted(good, key=lambda image: (-image.score, image.key))[:EACH]
    return {"worst": worst, "best": best, "alarm": alarms}


def picture_path(out: Path, result: CategoryResult, kind: str, index: int) -> Path:
    """Where the picture of the `index`-th image of `chosen(result)[kind]` lies."""
    return out / "gallery" / safe_name(result.category) / f"{kind}-{index + 1}.jpg"


def draw_gallery(
    out: Path, images: TestImages, result: CategoryResult, read: Callable[[Sample], np.ndarray]
) -> None:
    """Writes photograph and map side by side, the true defect outlined, for each of `chosen(result)`."""
    from anomaly.pictures.overlay import ColorScale

    samples = {s.key: s for s in images.samples}
    scale = None
    for kind, shown in chosen(result).items():
        for index, image in enumerate(shown):
            score_map = read(samples[image.key])
            scale = scale or ColorScale.from_heatmap(score_map, result.threshold.get("pixel_f1_max"))
            picture = _draw(samples[image.key], score_map, scale)
            with explained("the gallery", out, None):
                save(picture_path(out, result, kind, index), picture)


def _draw(sample: Sample, score_map: np.ndarray, scale: Any) -> bytes:
    from anomaly.pictures.encode import to_jpeg
    from anomaly.pictures.images import read_image
    from anomaly.pictures.overlay import draw_overlay, outlines, shrink
    from anomaly.regions import find_regions

    photo = read_image(sample.image)
    mask = read_mask(sample, score_map.shape)
    truth = np.zeros(score_map.shape, bool) if mask is None else mask
    boxes = [region.box_xyxy for region in find_regions(truth, score_map)]
    drawn = draw_overlay(photo, score_map, scale, outlines(truth), boxes, SIDE)
    pair = np.hstack([shrink(photo, SIDE), drawn])
    return to_jpeg(pair, 82)
