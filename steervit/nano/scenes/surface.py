"""What a material is to the renderer: a colour, a height and a gloss for each pixel."""

from dataclasses import dataclass

import numpy as np

from .fields import Array


@dataclass
class Surface:
    """A material before light falls on it.

    `albedo` is H x W x 3 float32 around 0..1, `height` H x W in pixels (as deep as a groove is wide), `gloss` how
    strongly slopes towards the light shine. `name` is the material in words.
    """

    albedo: Array
    height: Array
    gloss: float
    name: str

    def __post_init__(self):
        self.albedo = np.ascontiguousarray(self.albedo, np.float32)
        self.height = np.ascontiguousarray(self.height, np.float32)

    def copy(self) -> "Surface":
        return Surface(self.albedo.copy(), self.height.copy(), self.gloss, self.name)
