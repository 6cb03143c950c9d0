"""Benchmark cards: what `datasets/*.yaml` says about each benchmark, as plain objects.

Knows nothing of files on disk (that is `layouts`) and downloads nothing (that is `fetch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from anomaly.errors import SteerAnomalyError, as_user_errors
from anomaly.resources import files
from steervit.did_you_mean import unknown
from steervit.schema import STRICT, Flag, Number, Whole, parse, read_yaml

STEERABILITY = (
    "core",
    "genecis",
    "pods",
    "mosaic",
    "probe",
    "ade20k",
    "refcocog",
)  # no defects, no categories
METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pro", "image_auroc", "image_ap", "image_f1_max")


@dataclass(frozen=True, config=STRICT)
class Category:
    """One product of a benchmark. `good` and `defective` count test images; None where not known.

    `folder` is where it lies below the root, where that is not its name.
    """

    name: str
    object: str
    group: str | None = None
    good: Whole | None = None
    defective: Whole | None = None
    folder: str | None = None


@dataclass(frozen=True, config=STRICT)
class Archive:
    """One file to download. `sha256` is None where no hash is known: the download is then unverified."""

    file: str
    url: str
    sha256: str | None = None


@dataclass(frozen=True, config=STRICT)
class Licence:
    """`restricted` means that `datasets pull` asks for `--accept-licence` first."""

    name: str
    url: str
    restricted: Flag
    note: str = ""


@dataclass(frozen=True, config=STRICT)
class Published:
    """A published row of figures, in percent, mean over all categories, with its source."""

    method: str
    setting: str
    source: str
    values: dict[str, Number]


def _categories(content: Any) -> Any:
    """Their names are the keys of a table."""
    if not isinstance(content, Mapping):
        return content
    named = ((f"category {name}", {"name": str(name)}, entry) for name, entry in content.items())
    return tuple(
        parse(Category, {**name, **entry} if isinstance(entry, Mapping) else entry, where)
        for where, name, entry in named
    )


def _published(content: Any) -> Any:
    """Figures stand beside the source that printed them; those of other measures in a table `values`."""
    return [_with_values(row) if isinstance(row, Mapping) else row for row in content or ()]


def _with_values(row: Mapping[str, Any]) -> dict[str, Any]:
    about = {key: value for key, value in row.items() if key not in METRICS}
    named = {key: value for key, value in row.items() if key in METRICS}
    return {**about, "values": {**row.get("values", {}), **named}}


@dataclass(frozen=True, config=STRICT)
class Card:
    """One benchmark. `pro_limit` is the false-positive rate up to which its PRO is integrated.

    `categories` is empty for those that look for no defects, and only for them.
    """

    name: str
    title: str
    about: str
    layout: Literal[
        "mvtec", "visa", "mvtec-ad-2", "pairs", "core", "genecis", "pods", "mosaic", "probe", "ade20k", "refcocog"
    ]  # fmt: skip
    page: str
    licence: Licence
    categories: Annotated[tuple[Category, ...], BeforeValidator(_categories)] = ()
    paper: str = ""
    archives: tuple[Archive, ...] = ()
    published: Annotated[tuple[Published, ...], BeforeValidator(_published)] = ()
    pro_limit: Annotated[Number, Field(gt=0, le=1)] = 0.3
    image_folder: str = ""

    def __post_init__(self) -> None:
        if not self.categories and self.is_inspection:
            raise ValueError(
                f"expected the key categories with a product and more for the layout {self.layout}"
            )

    @property
    def is_inspection(self) -> bool:
        """Whether defects are looked for; the others measure how text steers the features."""
        return self.layout not in STEERABILITY

    @property
    def groups(self) -> tuple[str, ...]:
        """The distinct groups in the order texture, object, others; empty where the card names none."""
        found = {c.group for c in self.categories if c.group}
        return tuple(sorted(found, key=lambda g: (g != "texture", g != "object", g)))

    def category(self, name: str) -> Category:
        """The category called `name`; raises `SteerAnomalyError` naming the nearest ones."""
        for category in self.categories:
            if category.name == name:
                return category
        raise SteerAnomalyError(
            f"{self.title}: {unknown('category', name, (c.name for c in self.categories))}"
        )


def names() -> list[str]:
    """Every benchmark with a card, in alphabetical order."""
    return list(files("datasets"))


def load(name: str) -> Card:
    """The card called `name` (the stem of its file) or lying at the path `name`.

    Raises `SteerAnomalyError` when there is none, or when the file lacks a field.
    """
    known = files("datasets")
    path = known.get(name) or (Path(name) if name.endswith((".yaml", ".yml")) else None)
    if path is None or not path.is_file():
        raise SteerAnomalyError(unknown("benchmark", name, known))
    return read_card(path)


def read_card(path: Path) -> Card:
    """Reads one card. Raises `SteerAnomalyError` naming the file and the field that is wrong."""
    with as_user_errors():
        content = read_yaml(path)
        try:
            return parse(Card, {"name": path.stem, **content}, str(path))
        except ValueError as error:
            raise ValueError(
                f"{error}. Compare it with a shipped card, such as datasets/mvtec.yaml"
            ) from error
