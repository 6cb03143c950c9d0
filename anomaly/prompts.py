"""Prompt sets: what is said to the model about a part. Reads YAML and text files; knows no model.

In a prompt, `{object}` stands for the part's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anomaly.errors import SteerAnomalyError, as_user_errors
from anomaly.resources import files
from steervit.did_you_mean import unknown

ALIASES = "aliases"  # the one file in `prompts/` that is no set
PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class PromptSet:
    """Prompts whose maps are averaged, and prompts whose mean map is subtracted from that (perhaps none).

    Both hold `{object}` where the part's name belongs.
    """

    name: str
    prompts: tuple[str, ...]
    contrast: tuple[str, ...] = ()
    description: str = ""
    source: str = ""

    def fill(self, object: str) -> list[str]:
        """The prompts with the part's name in them; `object` goes through `object_name` first."""
        return _filled(self.prompts, object)

    def fill_contrast(self, object: str) -> list[str]:
        """The prompts to subtract, with the part's name in them; empty for most sets."""
        return _filled(self.contrast, object)

    @property
    def without_object(self) -> tuple[str, ...]:
        """The prompts that do not mention the part; the model is then not told what it looks at."""
        return tuple(prompt for prompt in (*self.prompts, *self.contrast) if "{object}" not in prompt)


def names() -> list[str]:
    """The sets that ship with the tool, the default one first."""
    return sorted((name for name in files("prompts") if name != ALIASES), key=lambda n: (n != "default", n))


def load(set_or_file: str | Path) -> PromptSet:
    """A shipped set by name, or one's own file by path: YAML with the same keys, or text, a prompt per line.

    Raises `SteerAnomalyError` that names the nearest set, or says what is wrong in the file and where.
    """
    text = str(set_or_file)
    if text in names():
        return _from_yaml(text, files("prompts")[text], ())
    path = Path(text).expanduser()
    if path.is_file():
        return _from_file(path)
    if path.suffix in (".yaml", ".yml", ".txt") or path.parent != Path():
        raise SteerAnomalyError(
            f"no prompt file {path}: give an existing file, or a set: {', '.join(names())}"
        )
    raise SteerAnomalyError(unknown("prompt set", text, names()))


def from_texts(texts: Sequence[str]) -> PromptSet:
    """A set of prompts given one by one. Raises `SteerAnomalyError` like `load`."""
    return PromptSet("given", _checked(texts, "the prompts given"), description="prompts given one by one")


def object_name(name: str) -> str:
    """What a part is called in a prompt: `metal_nut` becomes `metal nut`, `pcb1` `printed circuit board`.

    Raises `SteerAnomalyError` for an empty name.
    """
    words = " ".join(name.replace("_", " ").split())
    if not words:
        raise SteerAnomalyError("expected the name of a part such as 'metal nut', got an empty one")
    return _aliases().get(words.casefold(), words)


@cache
def _aliases() -> dict[str, str]:
    import yaml

    entries = yaml.safe_load(files("prompts")[ALIASES].read_text(encoding="utf-8"))
    return {key.replace("_", " ").casefold(): value for key, value in entries.items()}


def _filled(prompts: Iterable[str], object: str) -> list[str]:
    name = object_name(object)
    return [prompt.replace("{object}", name) for prompt in prompts]


def _from_file(path: Path) -> PromptSet:
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path.stem, path, ())
    lines = [line.strip() for line in _text(path).splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    return PromptSet(path.stem, _checked(prompts, str(path)), description=f"one's own, from {path.name}")


def _from_yaml(name: str, path: Path, within: tuple[str, ...]) -> PromptSet:
    if name in within:
        raise SteerAnomalyError(f"{path}: `from` goes in a circle: {' -> '.join((*within, name))}")
    from anomaly.prompt_file import PromptFile
    from steervit.schema import parse, read_yaml

    where = str(path)
    with as_user_errors():
        file = parse(PromptFile, read_yaml(path), where)
    if file.base is not None and file.base not in names():
        raise SteerAnomalyError(f"{where}: `from` names no shipped set: {unknown('set', file.base, names())}")
    base = PromptSet(name, ())
    if file.base is not None:
        base = _from_yaml(file.base, files("prompts")[file.base], (*within, name))
    subtracted = [*base.contrast, *(file.contrast.listed() if file.contrast else ())]
    return PromptSet(
        name,
        _checked([*base.prompts, *file.listed()], where),
        _checked(subtracted, where) if subtracted else (),
        file.description,
        " ".join(file.source.split()),
    )


def _checked(prompts: Sequence[str], where: str) -> tuple[str, ...]:
    """The prompts, tidied. A prompt said twice would weigh twice without anyone having meant it."""
    tidy = [" ".join(prompt.split()) for prompt in prompts]
    if not tidy or not all(tidy):
        raise SteerAnomalyError(f"{where}: expected at least one prompt and no empty ones, got {len(tidy)}")
    for prompt in tidy:
        for found in PLACEHOLDER.findall(prompt):
            if found != "{object}":
                raise SteerAnomalyError(
                    f"{where}: {found} in {prompt!r} is unknown: write {{object}} for the part"
                )
        if tidy.count(prompt) > 1:
            raise SteerAnomalyError(f"{where}: {prompt!r} is there twice and would weigh twice: remove one")
    return tuple(tidy)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SteerAnomalyError(f"{path} cannot be read as UTF-8 text ({error}): save it as UTF-8") from error
