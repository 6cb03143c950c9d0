"""All kinds of defects by name, painting one that can be seen, and the outline an annotator would draw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from . import defects_areas as areas
from . import defects_bodies as bodies
from . import defects_lines as lines
from .camera import Camera
from .fields import Array, Rng, blur, strongest
from .marks import Edit, Spot, any_spot
from .stage import Stage

Recipe = Callable[[Rng, Stage, Spot], Edit | None]
Table = Mapping[str, tuple[Recipe, float]]  # by kind: how it is painted, how often it is drawn

# Name of each kind: its recipe and how often it is drawn.
DEFECTS: dict[str, tuple[Recipe, float]] = {
    "scratch": (lines.scratch, 2.2),
    "crack": (lines.crack, 2.6),
    "fibre": (lines.fibre, 1.0),
    "cut": (lines.cut, 1.0),
    "fold": (lines.fold, 1.0),
    "break": (lines.break_, 1.2),
    "slip": (lines.slip, 0.6),
    "hole": (bodies.hole, 1.8),
    "dent": (bodies.dent, 1.3),
    "missing piece": (bodies.missing_piece, 1.5),
    "broken edge": (bodies.broken_edge, 1.0),
    "foreign object": (bodies.foreign_object, 0.8),
    "stain": (areas.stain, 2.0),
    "discolouration": (areas.discolouration, 1.2),
    "wear": (areas.wear, 1.4),
    "rough patch": (areas.rough_patch, 1.0),
    "glue": (areas.glue, 0.9),
    "contamination": (areas.contamination, 1.0),
    "misprint": (areas.misprint, 0.8),
    "foreign patch": (areas.foreign_patch, 1.2),
    "smear": (areas.smear, 0.8),
    "deformation": (areas.deformation, 0.9),
}


@dataclass(frozen=True)
class Mark:
    """One defect: its kind and its outline (H x W bool)."""

    kind: str
    mask: Array


def any_kind(rng: Rng, table: Table = DEFECTS) -> str:
    """A kind of defect of `table`, drawn by its weight."""
    weights = np.array([weight for _, weight in table.values()])
    return list(table)[int(rng.choice(len(table), p=weights / sum(weights)))]


def damage(rng: Rng, stage: Stage, camera: Camera, kind: str, table: Table = DEFECTS) -> Mark | None:
    """Paint one defect of a kind onto the stage, by the recipe of `table`; None, and nothing painted, where it could
    not be seen."""
    spot = any_spot(rng, stage)
    edit = table[kind][0](rng, stage, spot) if spot else None
    if edit is None or not (edit.area > 0.3).any():
        return None
    window = _around(edit.area > 0.02, margin=16)
    after = stage.look(edit.surface)
    change = np.zeros_like(edit.area)
    change[window] = _visible_change(stage.view[window], after[window], camera)
    outline = _outline(edit, change, window, camera)
    if outline is None or not _can_be_seen(rng, stage.view, change, outline, camera, edit.thin):
        return None
    stage.surface, stage.view = edit.surface, after
    if edit.part is not None:
        stage.part = edit.part
    return Mark(kind, outline)


def _around(mask: Array, margin: int) -> tuple[slice, slice]:
    """The mask's bounding box, `margin` pixels larger on each side."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )


def _visible_change(before: Array, after: Array, camera: Camera) -> Array:
    """How much the picture changes after exposure and blur: the strongest channel, or brightness if grey."""
    change = np.abs(camera.expose(after) - camera.expose(before))
    change = change if change.ndim == 2 else strongest(change)
    return blur(change, max(0.6, camera.blur))


def _outline(edit: Edit, change: Array, window: tuple[slice, slice], camera: Camera) -> Array | None:
    """Where the recipe worked and the eye sees it: closed over small gaps, one pixel wider for thin lines."""
    worked = edit.area[window] > (0.2 if edit.thin else 0.3)
    if not worked.any():
        return None
    seen_change = change[window]
    faintest = min(0.2 * float(np.percentile(seen_change[worked], 80)), 0.02 + camera.noise)
    seen = worked & (seen_change > faintest)
    # People outline an area as a whole, though parts of it may look like their surroundings.
    width = 3 if edit.thin else int(np.clip(0.3 * worked.sum() ** 0.5, 5, 27)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    margin = width // 2 + 1
    padded = cv2.copyMakeBorder(seen.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[margin:-margin, margin:-margin]
    outline = np.zeros(edit.area.shape, bool)
    outline[window] = (
        cv2.dilate(closed, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0
        if edit.thin
        else closed.astype(bool) & worked
    )
    return outline


def _can_be_seen(rng: Rng, before: Array, change: Array, outline: Array, camera: Camera, thin: bool) -> bool:
    """Change against what hides it: camera noise and the texture nearby. Large areas may be fainter than specks."""
    count = int(outline.sum())
    if count < 8:
        return False
    window = _around(outline, margin=12)
    grey = before[window] @ np.full(3, 1 / 3, np.float32)
    texture = float(np.median(np.abs(grey - blur(grey, 3.0)))) * 1.5
    contrast = float(change[outline].mean())
    averaging = min(1.0, (30 / count) ** 0.25)
    hidden = 0.02 + averaging * (1.2 * texture + 1.5 * camera.noise * camera.gain) * (1.0 if thin else 0.8)
    return contrast > hidden * rng.uniform(0.7, 1.6)
