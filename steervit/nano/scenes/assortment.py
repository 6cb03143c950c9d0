"""What scenes are made of: recipes for parts, and assortments of materials and parts, with how often each is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import parts
from . import parts_assemblies as assemblies
from .fields import Rng
from .parts import Part
from .surface import Surface
from .textures import TEXTURES, Texture

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


@dataclass(frozen=True)
class Assortment:
    """Which materials and parts are drawn, and how often each; `photographed`: photographs may take their place."""

    textures: Mapping[Texture, float]
    parts: Mapping[PartRecipe, float]
    photographed: bool = True

    def texture(self, rng: Rng, size: int) -> Surface:
        """A surface of any of its materials, `size` x `size` pixels."""
        return _drawn(rng, self.textures)(rng, size)

    def recipe(self, rng: Rng) -> PartRecipe:
        """A recipe for a part, drawn by its weight."""
        return _drawn(rng, self.parts)


def _drawn(rng: Rng, weights: Mapping[Any, float]) -> Any:
    total = sum(weights.values())
    return list(weights)[int(rng.choice(len(weights), p=[weight / total for weight in weights.values()]))]


EVERYTHING = Assortment(TEXTURES, PARTS)
