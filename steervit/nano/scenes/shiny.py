"""What shines, as an assortment of its own: materials, parts and defects, with how often each is drawn."""

from . import defects_areas as areas
from . import defects_bodies as bodies
from . import defects_lines as lines
from . import defects_shiny as shiny
from . import parts, parts_shiny
from . import textures_metal as metal
from . import textures_mineral as mineral
from . import textures_polished as polished
from .assortment import Assortment
from .defects import Table

SHINY = Assortment(
    textures={
        polished.polished: 2.0,
        polished.lapped: 1.5,
        polished.strip: 3.0,
        metal.brushed: 1.0,
        metal.rolled: 1.0,
        metal.blotched: 1.0,
        metal.turned: 0.5,
        metal.scuffed: 0.5,
        mineral.glazed: 0.5,
    },
    parts={
        parts_shiny.glass: 3.0,
        parts_shiny.machined: 2.5,
        parts_shiny.polished_plate: 2.5,
        parts.bottle_top: 0.5,
        parts.nut: 0.5,
        parts.gear: 0.5,
        parts.commutator: 0.5,
    },
    photographed=False,
)

# Name of each kind: its recipe and how often it is drawn. What looks the same is called by the same name as elsewhere.
SHINY_DEFECTS: Table = {
    "discolouration": (shiny.rust, 3.0),
    "missing piece": (shiny.chip, 2.0),
    "dent": (shiny.ding, 1.2),
    "foreign patch": (shiny.inclusion, 1.5),
    "scratch": (lines.scratch, 2.0),
    "crack": (lines.crack, 1.5),
    "fibre": (lines.fibre, 0.6),
    "break": (lines.break_, 0.6),
    "hole": (bodies.hole, 0.8),
    "broken edge": (bodies.broken_edge, 1.5),
    "foreign object": (bodies.foreign_object, 1.5),
    "contamination": (areas.contamination, 1.5),
    "stain": (areas.stain, 1.2),
    "wear": (areas.wear, 0.8),
    "rough patch": (areas.rough_patch, 0.8),
    "glue": (areas.glue, 0.5),
    "smear": (areas.smear, 0.4),
}
