"""One rendered inspection scene: stage, defects, camera. Deterministic from its seed."""

from dataclasses import dataclass, field

import numpy as np

from .assortment import EVERYTHING
from .camera import Camera, any_camera
from .defects import DEFECTS, Mark, Table, any_kind, damage
from .fields import Array, Rng, chance
from .photos import PhotoSource
from .shiny import SHINY, SHINY_DEFECTS
from .stage import Stage, any_stage
from .vocabulary import confusable

GOOD_SHARE = 0.18
_TRIES = 4


@dataclass
class Scene:
    """An image (RGB uint8, H x W x 3) and what is where in it.

    `layers` maps "object" and each kind of defect present to its mask (H x W bool); `marks` are the single defects.
    `material` is the surface or the shape that was drawn, for statistics.
    """

    image: Array
    object_name: str
    layers: dict[str, Array]
    marks: list[Mark] = field(default_factory=list)
    material: str = ""

    @property
    def kinds(self) -> list[str]:
        """Kinds of defect present, in a fixed order."""
        return [name for name in self.layers if name != "object"]

    @property
    def defects(self) -> Array:
        """Union of all defects, H x W bool; empty in a good scene."""
        union = np.zeros(self.image.shape[:2], bool)
        for mark in self.marks:
            union |= mark.mask
        return union


def render_scene(
    seed_or_rng: int | Rng,
    size: int = 256,
    photos: PhotoSource | None = None,
    kinds: list[str] | None = None,
    several: bool = False,
    shiny: bool = False,
) -> Scene:
    """Render a scene of `size` x `size` pixels (64 or more); `kinds` limits the defects to choose from.

    About one scene in five has no defect; with `several`, all have two to four, of kinds that nobody confuses
    (or fewer, where no more could be seen). With `shiny`, glass and bare metal, and the defects these have; without,
    any material. Raises ValueError for a smaller size.
    """
    if size < 64:
        raise ValueError(f"expected a size of 64 pixels or more, got {size}; small scenes show no defect")
    rng = seed_or_rng if isinstance(seed_or_rng, np.random.Generator) else np.random.default_rng(seed_or_rng)
    stage = any_stage(rng, size, photos, SHINY if shiny else EVERYTHING)
    table = SHINY_DEFECTS if shiny else DEFECTS
    # Enlarged photographs are soft; sharp defects on them would be a give-away.
    camera = any_camera(rng, softness=0.8 if stage.surface.name == "photograph" else 0.0)
    marks: list[Mark] = []
    if several or not chance(rng, GOOD_SHARE):
        for _ in range(int(rng.integers(2, 5)) if several else _how_many(rng)):
            wanted = _apart_from(marks, kinds, table) if several else kinds
            mark = _one_mark(rng, stage, camera, wanted, table)
            if mark is not None:
                marks.append(mark)
    image = camera.take(rng, stage.view)
    layers = {"object": stage.part > 0.5}
    for mark in marks:
        layers[mark.kind] = layers.get(mark.kind, False) | mark.mask
    return Scene(image, stage.object_name, layers, marks, stage.shape)


def _one_mark(rng: Rng, stage: Stage, camera: Camera, kinds: list[str] | None, table: Table) -> Mark | None:
    if kinds == []:  # each would be confused with one that is there
        return None
    for _ in range(_TRIES):
        kind = any_kind(rng, table) if kinds is None else kinds[int(rng.integers(len(kinds)))]
        mark = damage(rng, stage, camera, kind, table)
        if mark is not None:
            return mark
    return None


def _apart_from(marks: list[Mark], kinds: list[str] | None, table: Table) -> list[str]:
    """Those of `kinds` (None: all of the table) that nobody would confuse with the kinds of `marks`."""
    return [kind for kind in kinds or table if not confusable(kind, [mark.kind for mark in marks])]


def _how_many(rng: Rng) -> int:
    return int(rng.choice([1, 2, 3, 4], p=[0.62, 0.24, 0.1, 0.04]))
