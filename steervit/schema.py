"""YAML as typed objects: pydantic checks it, and here its findings become one sentence that a user can act on.

Knows nothing of what the files are about. A file's classes are pydantic dataclasses with `config=STRICT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from steervit.did_you_mean import did_you_mean

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
T = TypeVar("T")
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")  # what pydantic says of a key it does not know


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")  # Python would take true for 1
    if isinstance(value, str):
        return float(value)  # YAML reads 3e-4 as text
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Flag = Annotated[bool, Strict()]
Positive = Annotated[Whole, Field(ge=1)]
NotNegative = Annotated[Whole, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]
# A table of anything; `null` takes an inherited entry away.
Table = Annotated[
    dict[str, Any], AfterValidator(lambda table: {key: one for key, one in table.items() if one is not None})
]


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values in a file of YAML. Raises ValueError that names the file and what is wrong in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text ({error}): save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, found a {type(content).__name__}")
    return content


def parse(kind: type[T], content: Any, where: str) -> T:
    """`content` as an object of the dataclass `kind`.

    Raises ValueError that names `where` and the key of the first mistake, what was expected there and what came.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ValueError(f"{where}: {_sentence(kind, _worst(error.errors()))}") from error


def _worst(mistakes: Sequence[Any]) -> Any:
    """A key that is not known explains another that is missing, so it comes first."""
    return next((one for one in mistakes if one["type"] in UNKNOWN), mistakes[0])


def _sentence(kind: type, found: Mapping[str, Any]) -> str:
    loc, came, mistake = found["loc"], found["input"], found["type"]
    key, context = _key(loc), found.get("ctx", {})
    if mistake in UNKNOWN:
        known = list(_keys(_type_at(kind, loc[:-1])))
        return f"unknown key {key!r}{did_you_mean(str(loc[-1]), known)} There are: {', '.join(known)}"
    if mistake in ("missing", "missing_argument"):
        return f"expected the key {key}, which is not there"
    if mistake == "literal_error":
        return (
            f"expected {key} to be one of {', '.join(map(str, get_args(_type_at(kind, loc))))}, got {came!r}"
        )
    if mistake == "value_error" and _plain(_type_at(kind, loc)) not in (int, float):
        return str(context["error"])  # a class's own check says what is wrong in its own words
    quoted = (
        " (text with : or { in it needs quotes)"
        if mistake == "string_type" and isinstance(came, dict)
        else ""
    )
    return f"expected {key} to be {_expected(_type_at(kind, loc), mistake, context)}, got {came!r}{quoted}"


def _expected(kind: Any, mistake: str, context: Mapping[str, Any]) -> str:
    bounds = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt"),
              "less_than": ("below", "lt"), "less_than_equal": ("at most", "le")}  # fmt: skip
    if mistake in bounds:
        word, bound = bounds[mistake]
        return f"{word} {context[bound]:g}"
    if is_dataclass(_plain(kind)):
        return "a table of keys"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list",
             list: "a list", dict: "a table of keys"}  # fmt: skip
    return names.get(_plain(kind), "something else")


def _key(loc: Sequence[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".") or "it"


def _type_at(kind: Any, loc: Sequence[Any]) -> Any:
    """The type of what lies at `loc` in an object of `kind`."""
    for part in loc:
        kind = _bare(kind)
        if is_dataclass(kind):
            kind = _keys(kind)[part]
        else:
            kind = get_args(kind)[-1 if get_origin(kind) is dict else 0]
    return _bare(kind)


def _keys(kind: Any) -> dict[str, Any]:
    """What a class's keys are called in YAML, and their types."""
    hints = get_type_hints(kind, include_extras=True)
    return {info.alias or name: hints[name] for name, info in kind.__pydantic_fields__.items()}


def _bare(kind: Any) -> Any:
    """Without what is annotated, and without `| None`."""
    while get_origin(kind) is Annotated or NoneType in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    return kind


def _plain(kind: Any) -> Any:
    return get_origin(_bare(kind)) or _bare(kind)
