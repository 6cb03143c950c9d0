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
