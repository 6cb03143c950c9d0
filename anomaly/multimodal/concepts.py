"""Concepts as sentences, each with the word that carries it: what steering vectors are extracted from.

Reads YAML; knows no model. Shipped ones lie in `prompts/concepts`, a file of your own is given by its path.
"""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass as checked

from anomaly.errors import SteerAnomalyError, as_user_errors
from anomaly.resources import folder
from steervit.did_you_mean import unknown
from steervit.schema import STRICT, parse, read_yaml


@checked(frozen=True, config=STRICT)
class Pair:
    """A sentence, and the word in it that stands for the concept."""

    sentence: str
    target: str

    def __post_init__(self) -> None:
        if self.target not in self.sentence:
            raise ValueError(f"expected the target {self.target!r} in its sentence {self.sentence!r}")

    @property
    def span(self) -> tuple[int, int]:
        """First and last (excluded) character of the target, at its first occurrence as a whole word if any."""
        import re

        whole = re.search(rf"\b{re.escape(self.target)}\b", self.sentence)
        start = whole.start() if whole else self.sentence.index(self.target)
        return start, start + len(self.target)


@checked(frozen=True, config=STRICT)
class Concept:
    """What a vector shall stand for, by example."""

    pairs: tuple[Pair, ...]
    description: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.pairs) < 2:
            raise ValueError(f"expected two pairs of sentence and target at least, got {len(self.pairs)}")


def names() -> list[str]:
    """The shipped concepts, in alphabetical order."""
    return sorted(path.stem for path in (folder("prompts") / "concepts").glob("*.yaml"))


def load_concept(name: str | Path) -> Concept:
    """A shipped concept by name, or a YAML file. Raises `SteerAnomalyError` that says what is wrong with it."""
    text = str(name)
    if text in names():
        path = folder("prompts") / "concepts" / f"{text}.yaml"
    else:
        path = Path(name)
        if not path.is_file():
            raise SteerAnomalyError(unknown("concept", text, names()))
    with as_user_errors():
        content = read_yaml(path)
        content.setdefault("name", path.stem)
        return parse(Concept, content, str(path))
