"""The words of the rendered scenes, read from vocabulary.yaml."""

from functools import cache
from importlib.resources import files

import yaml

from .fields import Rng, chance, pick


@cache
def words() -> dict:
    """Lists of words by topic, as in vocabulary.yaml."""
    return yaml.safe_load(files(__package__).joinpath("vocabulary.yaml").read_text("utf-8"))


@cache
def defect_kinds() -> tuple[str, ...]:
    """The kinds of defects by name, in a fixed order."""
    return tuple(words()["kinds"])


@cache
def object_names() -> tuple[str, ...]:
    """Every object name there is, in a fixed order, each once."""
    groups = [*words()["parts"].values(), *words()["surfaces"].values(), words()["others"]]
    return tuple(dict.fromkeys(name for group in groups for name in group))


def part_name(rng: Rng, shape: str) -> str:
    return _name(rng, words()["parts"][shape])


def surface_name(rng: Rng, material: str) -> str:
    return _name(rng, words()["surfaces"][material])


def _name(rng: Rng, fitting: list[str]) -> str:
    # Users call things as they like, so a name is a hint and no more.
    if chance(rng, 0.12):
        return pick(rng, words()["general"])
    if chance(rng, 0.06):
        return pick(rng, object_names())
    return pick(rng, fitting)


# Kinds that people would not always tell apart in a picture; none is called absent where its neighbour is present.
_ALIKE = (
    {"scratch", "crack", "cut", "fold", "fibre", "slip"},
    {"crack", "break", "missing piece", "broken edge", "cut", "hole"},
    {
        "stain",
        "discolouration",
        "wear",
        "glue",
        "misprint",
        "smear",
        "foreign patch",
        "rough patch",
        "contamination",
    },
    {"hole", "contamination", "foreign object", "stain", "glue", "missing piece"},
    {"dent", "deformation", "fold", "rough patch", "glue", "smear", "wear"},
    {"slip", "deformation", "foreign patch", "misprint"},
    {"fibre", "foreign object", "contamination"},
    {"foreign patch", "foreign object", "missing piece"},
)


def confusable(kind: str, present: list[str]) -> bool:
    """Whether people might call a defect of this kind by the name of one of those present."""
    return any(kind in group and group & set(present) for group in _ALIKE) or kind in present
