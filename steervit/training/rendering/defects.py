"""All kinds of defects by name, painting one that can be seen, and the outline an annotator would draw."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from . import defects_areas as areas
from . import defects_bodies as bodies
from . import defects_lines as lines
from .camera import Camera
from .fields import Array, Rng, blur
from .marks import Edit, Spot, any_spot
from .stage import Stage

Recipe = Callable[[Rng, Stage, Spot], Edit | None]

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
_WEIGHTS = np.array([weight for _, weight in DEFECTS.values()]) / sum(
    weight for _, weight in DEFECTS.values()
)


@dataclass(frozen=True)
class Mark:
    """One defect: its kind and its outline (H x W bool)."""

    kind: str
    mask: Array


def any_kind(rng: Rng) -> str:
    return list(DEFECTS)[int(rng.choice(len(DEFECTS), p=_WEIGHTS))]


def damage(rng: Rng, stage: Stage, camera: Camera, kind: str) -> Mark | None:
    """Paint one defect of a kind onto the stage; None, and nothing painted, where it could not be seen."""
    spot = any_spot(rng, stage)
    edit = DEFECTS[kind][0](rng, stage, spot) if spot else None
    if edit is None or not (edit.area > 0.3).any():
        return None
    before, after = stage.look(), stage.look(edit.surface)
    change = _visible_change(before, after, camera)
    outline = _outline(edit, change)
    if outline is None or not _can_be_seen(rng, before, change, outline, camera, edit.thin):
        return None
    stage.surface = edit.surface
    if edit.part is not None:
        stage.part = edit.part
    return Mark(kind, outline)


def _visible_change(before: Array, after: Array, camera: Camera) -> Array:
    """Strongest change over the channels after the camera's blur; a grey camera sees brightness alone."""
    change = np.abs(after - before)
    if camera.grey:
        change = np.abs((after - before) @ np.array([0.3, 0.59, 0.11], np.float32))
    else:
        change = change.max(-1)
    return blur(change, max(0.6, camera.blur)) * camera.gain


def _outline(edit: Edit, change: Array) -> Array | None:
    """Where the recipe worked and the eye sees it: closed over small gaps, one pixel wider for thin lines."""
    worked = edit.area > (0.2 if edit.thin else 0.3)
    if not worked.any():
        return None
    strong = np.percentile(change[worked], 80)
    seen = worked & (change > 0.2 * strong)
    # People outline an area as a whole, though parts of it may look like their surroundings.
    width = 3 if edit.thin else int(np.clip(0.3 * worked.sum() ** 0.5, 5, 27)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    margin = width // 2 + 1
    padded = cv2.copyMakeBorder(seen.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[margin:-margin, margin:-margin]
    if edit.thin:
        return cv2.dilate(closed, np.ones((2, 2), np.uint8)).astype(bool)
    return closed.astype(bool) & worked


def _can_be_seen(rng: Rng, before: Array, change: Array, outline: Array, camera: Camera, thin: bool) -> bool:
    """Change against what hides it: camera noise and the texture nearby. Large areas may be fainter than specks."""
    count = int(outline.sum())
    if count < 8:
        return False
    grey = before.mean(-1)
    rows, columns = np.nonzero(outline)
    window = (
        slice(max(0, rows.min() - 12), rows.max() + 13),
        slice(max(0, columns.min() - 12), columns.max() + 13),
    )
    texture = float(np.median(np.abs(grey - blur(grey, 3.0))[window])) * 1.5
    contrast = float(change[outline].mean())
    averaging = min(1.0, (30 / count) ** 0.25)
    hidden = 0.02 + averaging * (1.2 * texture + 1.5 * camera.noise * camera.gain) * (1.0 if thin else 0.8)
    return contrast > hidden * rng.uniform(0.7, 1.6)
