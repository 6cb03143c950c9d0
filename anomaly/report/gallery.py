"""Pictures of an evaluation: defects found best and worst, and good images that look most defective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.evaluation.category import TestImages
from anomaly.evaluation.scoring import CategoryResult
from anomaly.inspection import Inspection
from anomaly.runs.rows import safe_name
from anomaly.testsets.samples import Sample, read_mask

EACH = 3
SIDE = 340  # px of one picture's longer side
KINDS = {"worst": "found worst", "best": "found best", "alarm": "good, but the highest scores"}


def chosen(result: CategoryResult) -> dict[str, list[dict[str, Any]]]:
    """Image rows by kind: `worst` and `best` by the PRO of the image's regions, or by score without masks."""
    defective = [row for row in result.images if row["defective"]]
    good = [row for row in result.images if row["defective"] is False]
    by = "pro" if defective and all(row["pro"] is not None for row in defective) else "score"
    ranked = sorted(defective, key=lambda row: (row[by], row["key"]))
    worst = ranked[: min(EACH, (len(ranked) + 1) // 2)]
    best = [row for row in reversed(ranked[-EACH:]) if row not in worst]
    alarms = sorted(good, key=lambda row: (-row["score"], row["key"]))[:EACH]
    return {"worst": worst, "best": best, "alarm": alarms}


def picture_path(out: Path, result: CategoryResult, kind: str, index: int) -> Path:
    """Where the picture of the `index`-th row of `chosen(result)[kind]` lies."""
    return out / "gallery" / safe_name(result.category) / f"{kind}-{index + 1}.jpg"


def draw_gallery(
    out: Path, images: TestImages, result: CategoryResult, read: Callable[[Sample], np.ndarray]
) -> None:
    """Writes photograph and map side by side, the true defect outlined, for each of `chosen(result)`."""
    from anomaly.pictures.overlay import ColorScale

    samples = {s.key: s for s in images.samples}
    scale = None
    for kind, rows in chosen(result).items():
        for index, row in enumerate(rows):
            score_map = read(samples[row["key"]])
            scale = scale or ColorScale.from_heatmap(score_map, result.threshold.get("pixel_f1_max"))
            picture = _draw(samples[row["key"]], score_map, scale)
            path = picture_path(out, result, kind, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)


def _draw(sample: Sample, score_map: np.ndarray, scale: Any) -> bytes:
    import cv2

    from anomaly.pictures.encode import to_image
    from anomaly.pictures.images import read_image
    from anomaly.pictures.overlay import draw_overlay, shrink
    from anomaly.regions import find_regions

    photo = read_image(sample.image)
    mask = read_mask(sample, score_map.shape)
    truth = np.zeros(score_map.shape, bool) if mask is None else mask
    shown = Inspection(0.0, None, score_map, truth, find_regions(truth, score_map), None, "", "")
    pair = np.hstack([shrink(photo, SIDE), draw_overlay(photo, shown, scale, SIDE)])
    return to_image(".jpg", pair, cv2.IMWRITE_JPEG_QUALITY, 82)
