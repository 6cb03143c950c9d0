"""The files of one inspected image: heatmap, mask, overlay, previews. May run in several threads at a time.

Knows nothing of journals or of other images.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.inspection import Inspection
from anomaly.pictures.encode import to_float_tiff, to_jpeg, to_mask_png, to_png
from anomaly.pictures.overlay import ColorScale, draw_overlay, outlines, shrink
from anomaly.runs.claim import now
from anomaly.runs.company_previews import said_at_highest, save_parts
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import save

SAVES = ("all", "defects", "none")  # of which images heatmap, mask and overlay are kept
KINDS = {"heatmap": ("heatmaps", ".tiff"), "mask": ("masks", ".png"), "overlay": ("overlays", ".jpg")}
PREVIEW_SIDE, PREVIEW_HEAT_SIDE = 720, 192  # px


def row_of(identity: dict[str, Any], image: np.ndarray, inspection: Inspection) -> ImageRow:
    """The row of an inspected image; `identity` are its fields that no inspection knows."""
    return ImageRow(
        **identity | {"object": inspection.object},
        verdict=inspection.verdict,
        score=float(inspection.score),
        width=image.shape[1],
        height=image.shape[0],
        threshold=None if inspection.threshold is None else float(inspection.threshold),
        regions=inspection.regions,
        milliseconds=round(float(inspection.milliseconds), 2),
        model=inspection.model,
        parts=said_at_highest(inspection),
        compared_with=inspection.compared_with or None,
        closest=inspection.closest,
        unlike=None if inspection.unlike is None else round(inspection.unlike, 3),
        mm_per_pixel=inspection.mm_per_pixel,
        p_value=inspection.p_value,
        spreads=inspection.spreads,
        look=asdict(inspection.look) if inspection.look else None,
        error=" ".join(inspection.unfit) or None,
    )


def save_files(
    out: Path, row: ImageRow, image: np.ndarray, inspection: Inspection, scale: ColorScale, keep: str
) -> ImageRow:
    """Write what is kept of an image below `out`; returns its row with outlines and files. Raises `OSError`."""
    polygons = outlines(inspection.mask)
    files = _paths(row.name) if is_kept(row, keep) else {}
    if files:
        drawn = draw_overlay(
            image, inspection.heatmap, scale, polygons, [r.box_xyxy for r in inspection.regions]
        )
        save(out / files["heatmap"], to_float_tiff(inspection.heatmap))
        save(out / files["mask"], to_mask_png(inspection.mask))
        save(out / files["overlay"], to_jpeg(drawn, 90))
    small = scale.levels(shrink(inspection.heatmap, PREVIEW_HEAT_SIDE))
    save(out / f"previews/photo/{row.name}.jpg", to_jpeg(shrink(image, PREVIEW_SIDE), 85))
    save(out / f"previews/heat/{row.name}.png", to_png(small))
    save_parts(out, row.name, image, inspection, scale)
    return replace(row, outlines=tuple(map(tuple, polygons)), written=now(), **files)  # type: ignore[arg-type]


def is_kept(row: ImageRow, keep: str) -> bool:
    """Whether heatmap, mask and overlay of this image are kept."""
    return keep == "all" or (keep == "defects" and row.verdict == "defect")


def has_files(out: Path, row: ImageRow, keep: str) -> bool:
    """Whether everything that `keep` asks for is there."""
    if not is_kept(row, keep):
        return True
    return all(file is not None and (out / file).is_file() for file in (row.heatmap, row.mask, row.overlay))


def _paths(name: str) -> dict[str, str]:
    return {kind: f"{folder}/{name}{end}" for kind, (folder, end) in KINDS.items()}
