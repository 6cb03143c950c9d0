"""All recipes for parts, with how often each is drawn."""

from collections.abc import Callable

from . import parts
from . import parts_assemblies as assemblies
from .fields import Rng
from .parts import Part

PartRecipe = Callable[[Rng, int], Part]

PARTS: dict[PartRecipe, float] = {
    parts.disc: 1.2,
    parts.ring: 1.2,
    parts.bottle_top: 1.3,
    parts.capsule: 1.1,
    parts.tablet: 1.0,
    parts.plate: 2.0,
    parts.nut: 1.3,
    parts.gear: 1.0,
    parts.commutator: 1.2,
    parts.screw: 1.0,
    parts.bottle: 1.0,
    parts.bracket: 0.7,
    parts.biscuit: 1.8,
    parts.kernel: 1.8,
    parts.connector: 0.9,
    parts.chip: 0.9,
    parts.cable: 0.6,
    parts.zipper: 0.7,
    assemblies.board: 1.3,
    assemblies.shaft: 1.3,
    assemblies.spring: 0.5,
    assemblies.wheel: 0.6,
    assemblies.pack: 0.8,
    assemblies.bristles: 0.5,
    assemblies.chain: 0.4,
    assemblies.emblem: 0.7,
}
_CHOICES = tuple(PARTS)
_WEIGHTS = tuple(weight / sum(PARTS.values()) for weight in PARTS.values())


def any_recipe(rng: Rng) -> PartRecipe:
    """A recipe, drawn by its weight."""
    return _CHOICES[int(rng.choice(len(_CHOICES), p=_WEIGHTS))]
