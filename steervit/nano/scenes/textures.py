"""All materials by name, with how often each is drawn. Knows nothing of parts and defects."""

from collections.abc import Callable

from . import textures_metal as metal
from . import textures_mineral as mineral
from . import textures_organic as organic
from . import textures_woven as woven
from .fields import Rng
from .surface import Surface

Texture = Callable[[Rng, int], Surface]

# Weight of each texture when any surface will do. Grey metal and rough minerals are the hard cases, hence frequent.
TEXTURES: dict[Texture, float] = {
    mineral.stone: 1.5,
    mineral.granite: 1.0,
    mineral.marble: 0.7,
    mineral.concrete: 2.0,
    mineral.asphalt: 2.5,
    mineral.terrazzo: 0.6,
    mineral.glazed: 1.2,
    mineral.tiled: 1.0,
    mineral.plaster: 0.8,
    metal.brushed: 3.0,
    metal.rolled: 3.0,
    metal.cast: 2.0,
    metal.turned: 1.0,
    metal.blasted: 1.5,
    metal.galvanised: 0.7,
    metal.rusty: 0.6,
    metal.painted_metal: 1.2,
    metal.checker_plate: 0.5,
    metal.scuffed: 1.2,
    metal.blotched: 1.5,
    metal.welded: 0.6,
    woven.woven: 2.0,
    woven.knitted: 0.8,
    woven.patterned: 1.0,
    woven.mesh: 1.6,
    woven.carpet: 1.3,
    woven.felt: 0.8,
    woven.ribbed: 0.8,
    woven.fleece: 0.5,
    organic.leather: 2.0,
    organic.smooth_leather: 1.5,
    organic.wood: 2.2,
    organic.particle_board: 0.6,
    organic.paper: 1.0,
    organic.plastic: 1.8,
    organic.rubber: 0.8,
    organic.foam: 0.6,
    organic.baked: 1.3,
    organic.shell: 1.0,
    organic.fruit_skin: 0.7,
    organic.loose_goods: 0.8,
    organic.film: 0.5,
    organic.solar_cell: 0.5,
    organic.speckled: 0.8,
    organic.crackled: 0.5,
}
_CHOICES = tuple(TEXTURES)
_WEIGHTS = tuple(weight / sum(TEXTURES.values()) for weight in TEXTURES.values())


def any_texture(rng: Rng, size: int) -> Surface:
    """A surface of any material, `size` x `size` pixels."""
    return _CHOICES[int(rng.choice(len(_CHOICES), p=_WEIGHTS))](rng, size)
