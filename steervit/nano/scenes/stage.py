"""The undamaged scene: a surface, a part or a tray of parts, lit. Defects are painted on it, a camera looks at it."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import parts, vocabulary
from .assortment import EVERYTHING, Assortment, PartRecipe
from .colours import colour
from .fields import (
    Array,
    Rng,
    blur,
    chance,
    coordinates,
    fractal_noise,
    log_uniform,
    mix,
    pick,
    smooth_noise,
    strongest,
)
from .light import Light, any_light, cast_shadow, highlights
from .parts_assemblies import decorate
from .photos import PhotoSource
from .surface import Surface
from .textures import any_texture


@dataclass(frozen=True)
class Place:
    """Where one part lies: its middle and about its radius, in pixels."""

    x: float
    y: float
    radius: float


@dataclass
class Stage:
    """`surface` is all that is seen before light; `part` (H x W, 0..1) is where the object is; `behind` the albedo
    seen where material is missing; `other` a foreign material; `shine` highlights laid over everything. `view` is the
    lit scene as it is now; who changes the surface, light or shine renews it with `look`."""

    surface: Surface
    part: Array
    behind: Array
    other: Surface
    light: Light
    object_name: str
    places: list[Place]
    shine: Array | None = None
    shape: str = "surface"

    def __post_init__(self):
        self.view = self.look()

    @property
    def size(self) -> int:
        return self.part.shape[0]

    def look(self, surface: Surface | None = None) -> Array:
        """The lit scene, H x W x 3 float32 clipped to 0..1, with another surface in place if one is given."""
        image = self.light.shade(self.surface if surface is None else surface)
        if self.shine is not None:
            image = image + self.shine[..., None]
        return np.clip(image, 0, 1)


def any_stage(rng: Rng, size: int, photos: PhotoSource | None, assortment: Assortment = EVERYTHING) -> Stage:
    """A stage of `size` x `size` pixels with a surface or with parts of the assortment, lit for its camera."""
    # With photographs, 4 scenes in 10 have one as their surface, background or foreign material.
    photos = photos if chance(rng, 0.5) and assortment.photographed else None
    layout = rng.random()
    if layout < 0.45:
        stage = surface_stage(rng, size, photos, assortment)
    else:
        stage = parts_stage(rng, size, photos, layout > 0.84, assortment)
    meter(rng, stage)
    return stage


def meter(rng: Rng, stage: Stage) -> None:
    """Set the light so that the part is neither washed out nor lost in the dark, as whoever set up the camera did."""
    seen = strongest(stage.view)[stage.part > 0.5][::5]
    if len(seen) == 0:
        return
    bright, middle = float(np.percentile(seen, 95)), float(np.median(seen))
    factor = 1.0
    if bright > 0.9 and chance(rng, 0.85):
        factor = rng.uniform(0.7, 1.0) / bright
    elif middle < 0.16 and chance(rng, 0.7):
        factor = min(rng.uniform(0.15, 0.45) / max(middle, 0.01), 0.9 / max(bright, 0.01), 6)
    if factor != 1 or stage.shine is not None:
        stage.light.field = stage.light.field * np.float32(factor)
        stage.view = stage.look()


def surface_stage(
    rng: Rng, size: int, photos: PhotoSource | None, assortment: Assortment = EVERYTHING
) -> Stage:
    """One material fills the picture, perhaps with a seam, a marking, an edge."""
    if photos is not None and chance(rng, 0.85):
        surface, shape = photos.surface(rng, size), "photograph"
    else:
        surface = assortment.texture(rng, size)
        shape = surface.name
    if chance(rng, 0.25):
        add_marking(rng, surface)
    part = np.ones((size, size), np.float32)
    behind = background(rng, size, None).albedo
    if chance(rng, 0.4):
        part = trim_edges(rng, size)
        surface.albedo = mix(behind, surface.albedo, part)
        surface.height = surface.height + blur(part, 1.5) * rng.uniform(0, 4)
    return Stage(
        surface,
        part,
        behind,
        foreign(rng, size, photos),
        any_light(rng, size),
        vocabulary.surface_name(rng, shape),
        [Place(size / 2, size / 2, size / 2)],
        shape=shape,
    )


def foreign(rng: Rng, size: int, photos: PhotoSource | None) -> Surface:
    return photos.surface(rng, size) if photos is not None and chance(rng, 0.4) else any_texture(rng, size)


def trim_edges(rng: Rng, size: int) -> Array:
    """The part ends inside the picture on one to four sides: straight, curved or slanted edges."""
    x, y = coordinates(size)
    part = np.ones((size, size), np.float32)
    sides = ((x, y), (x, size - y), (y, x), (y, size - x))
    for side in rng.permutation(4)[: int(rng.choice([1, 2, 3, 4], p=[0.35, 0.35, 0.15, 0.15]))]:
        along, across = sides[side]
        middle = along / size - 0.5
        line = size * (
            rng.uniform(0.01, 0.14) + rng.normal(0, 0.04) * middle + rng.normal(0, 0.15) * middle**2
        )
        part *= np.clip(across - line, 0, 1)
    return part.astype(np.float32)


def add_marking(rng: Rng, surface: Surface) -> None:
    """A seam, a groove, a painted stripe, a printed line: regular, hence normal."""
    size = surface.albedo.shape[0]
    x, y = coordinates(size)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    away = (x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle) - rng.uniform(-0.4, 0.4) * size
    width = log_uniform(rng, 0.8, size * 0.12)
    repeat = rng.uniform(3, 9) * width + 12
    if chance(rng, 0.35):
        away = (away + repeat / 2) % repeat - repeat / 2
    stripe = np.clip(width - np.abs(away), 0, 1).astype(np.float32)
    if chance(rng, 0.5):
        worn = np.clip(rng.uniform(0.3, 1) + 0.2 * fractal_noise(rng, size, 6, 3), 0, 1)
        surface.albedo = mix(surface.albedo, colour(rng), stripe * worn)
    else:
        surface.height = surface.height + blur(stripe, 1) * rng.uniform(-3, 3)


def background(rng: Rng, size: int, photos: PhotoSource | None) -> Surface:
    """What parts lie on: usually plain and dark or pale, sometimes a material or a photograph."""
    if photos is not None and chance(rng, 0.35):
        # Out of focus and dim, as backgrounds are: a sharp one would compete with the part.
        photo = photos.surface(rng, size, zoomed=chance(rng, 0.7))
        photo.albedo = blur(photo.albedo, rng.uniform(0, 4)) * rng.uniform(0.3, 1)
        return photo
    if chance(rng, 0.3):
        return any_texture(rng, size)
    surface = parts.plain(rng, size, pick(rng, ("dark", "dark", "pale", "grey", "any")))
    if chance(rng, 0.3):
        surface.albedo[:] = rng.choice([0.01, 0.03, 0.95, 1.0])
        surface.height[:] = 0
    return surface


def scatter(rng: Rng, ground: Surface) -> None:
    """Crumbs and dust beside the part: no defect of the part."""
    size = ground.albedo.shape[0]
    specks = np.clip(smooth_noise(rng, size, rng.uniform(1.5, 5)) - rng.uniform(2.4, 3.2), 0, 0.5) * 2
    ground.albedo = mix(ground.albedo, colour(rng, pick(rng, ("food", "pale", "dark"))), specks)


def parts_stage(
    rng: Rng, size: int, photos: PhotoSource | None, tray: bool, assortment: Assortment = EVERYTHING
) -> Stage:
    ground = background(rng, size, photos)
    if chance(rng, 0.15):
        scatter(rng, ground)
    light = any_light(rng, size)
    places, turns = (tray_places if tray else single_place)(rng, size)
    side = max(24, int(max(place.radius for place in places) * 2.1))
    recipe = assortment.recipe(rng)
    sprites = make_sprites(rng, recipe, min(side, int(size * 1.3)), photos, len(places))
    layers = [paste(rng, sprites[i % len(sprites)], size, place, turns[i]) for i, place in enumerate(places)]
    part = np.zeros((size, size), np.float32)
    albedo, height = ground.albedo, ground.height * 0.3
    for _, _, alpha, window in layers:
        part[window] = np.maximum(part[window], alpha)
    behind = ground.albedo * cast_shadow(rng, part, light)[..., None]
    albedo = behind.copy()
    for layer_albedo, layer_height, alpha, window in layers:
        albedo[window] = mix(albedo[window], layer_albedo, alpha)
        height[window] = mix(height[window], layer_height, alpha)
    gloss = sprites[0].surface.gloss
    stage = Stage(
        Surface(albedo, height, gloss, sprites[0].surface.name),
        part,
        behind,
        foreign(rng, size, photos),
        light,
        vocabulary.part_name(rng, sprites[0].shape),
        places,
        shape=sprites[0].shape,
    )
    # On a tray a lone reflection would be odder than any defect.
    if not tray and chance(rng, gloss * 0.8):
        stage.shine = highlights(rng, part, int(rng.integers(1, 5)))
    return stage


def make_sprites(
    rng: Rng, recipe: PartRecipe, side: int, photos: PhotoSource | None, count: int
) -> list[parts.Part]:
    """Up to three pieces of one kind: the same colours with natural variation."""
    first = recipe(rng, side)
    if chance(rng, 0.2):
        decorate(rng, first)
    if photos is not None and chance(rng, 0.5):
        skin = photos.surface(rng, side).albedo
        first.surface.albedo = mix(
            first.surface.albedo, skin, np.full((side, side), rng.uniform(0.5, 1), np.float32)
        )
    sprites = [first]
    for _ in range(min(count, 3) - 1):
        tone = np.clip(1 + 0.04 * smooth_noise(rng, side, side / 2) + rng.normal(0, 0.03), 0.7, 1.3)
        same = Surface(first.surface.albedo * tone[..., None], first.surface.height, first.surface.gloss, "")
        sprites.append(parts.Part(same, first.alpha, first.shape))
    return sprites


def single_place(rng: Rng, size: int) -> tuple[list[Place], list[float]]:
    """One part, near the middle or close up; sometimes neighbours look in at the border."""
    radius = size * (rng.uniform(0.3, 0.5) if chance(rng, 0.8) else rng.uniform(0.5, 0.62))
    middle = size / 2 + rng.normal(0, 0.04 * size, 2)
    turn = float(rng.choice([0.0, 90.0, rng.uniform(0, 360)]))
    places, turns = [Place(float(middle[0]), float(middle[1]), radius)], [turn]
    if chance(rng, 0.15):
        side = rng.choice([-1, 1]) * radius * 2.1
        places.append(Place(float(middle[0] + side), float(middle[1] + rng.normal(0, 10)), radius))
        turns.append(turn + float(rng.normal(0, 10)))
    return places, turns


def tray_places(rng: Rng, size: int) -> tuple[list[Place], list[float]]:
    """Parts on a grid, all turned alike or each its own way."""
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    pitch = size / max(columns, rows)
    radius = pitch * rng.uniform(0.32, 0.5)
    turn, loose = float(rng.choice([0.0, 90.0, rng.uniform(0, 360)])), chance(rng, 0.4)
    places, turns = [], []
    left, top = (size - columns * pitch) / 2, (size - rows * pitch) / 2
    for column in range(columns):
        for row in range(rows):
            x = left + (column + 0.5) * pitch + rng.normal(0, pitch * 0.04)
            y = top + (row + 0.5) * pitch + rng.normal(0, pitch * 0.04)
            places.append(Place(float(x), float(y), radius))
            turns.append(float(rng.uniform(0, 360)) if loose else turn + float(rng.normal(0, 2)))
    return places, turns


def paste(rng: Rng, part: parts.Part, size: int, place: Place, turn: float):
    """Turn and scale a sprite to its place: albedo, height, alpha and the window of the picture they cover."""
    reach = int(place.radius * 1.5) + 2
    left, top = max(0, int(place.x) - reach), max(0, int(place.y) - reach)
    right, bottom = min(size, int(place.x) + reach), min(size, int(place.y) + reach)
    window = (slice(top, max(top, bottom)), slice(left, max(left, right)))
    zoom = place.radius / part.unit
    matrix = cv2.getRotationMatrix2D((part.size / 2, part.size / 2), turn, zoom)
    matrix[0, 2] += place.x - left - part.size / 2
    matrix[1, 2] += place.y - top - part.size / 2
    if right <= left or bottom <= top:
        empty = np.zeros((0, 0), np.float32)
        return np.zeros((0, 0, 3), np.float32), empty, empty, (slice(0, 0), slice(0, 0))
    extent = (right - left, bottom - top)
    albedo = cv2.warpAffine(part.surface.albedo, matrix, extent, borderMode=cv2.BORDER_REPLICATE)
    height = cv2.warpAffine(part.surface.height, matrix, extent, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(part.alpha, matrix, extent)
    return albedo, height, np.clip(alpha, 0, 1), window
