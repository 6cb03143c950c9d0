"""Benchmark cards: what `datasets/*.yaml` says about each benchmark, as plain objects.

Knows nothing of files on disk (that is `layouts`) and downloads nothing (that is `fetch`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.resources import files

LAYOUTS = ("mvtec", "visa", "mvtec-ad-2", "pairs")
METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pro", "image_auroc", "image_ap", "image_f1_max")


@dataclass(frozen=True)
class Category:
    """One product of a benchmark. `good` and `defective` count test images; None where not known.

    `folder` is where it lies below the root, where that is not its name.
    """

    name: str
    object: str
    group: str | None = None
    good: int | None = None
    defective: int | None = None
    folder: str | None = None


@dataclass(frozen=True)
class Archive:
    """One file to download. `sha256` is None where no hash is known: the download is then unverified."""

    file: str
    url: str
    sha256: str | None = None


@dataclass(frozen=True)
class Licence:
    """`restricted` means that `datasets pull` asks for `--accept-licence` first."""

    name: str
    url: str
    restricted: bool
    note: str = ""


@dataclass(frozen=True)
class Published:
    """A published row of figures, in percent, mean over all categories, with its source."""

    method: str
    setting: str
    source: str
    values: dict[str, float]


@dataclass(frozen=True)
class Card:
    """One benchmark. `pro_limit` is the false-positive rate up to which its PRO is integrated."""

    name: str
    title: str
    about: str
    layout: str
    page: str
    paper: str
    licence: Licence
    archives: tuple[Archive, ...]
    categories: tuple[Category, ...]
    published: tuple[Published, ...]
    pro_limit: float = 0.3
    image_folder: str = ""

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
        known = [c.name for c in self.categories]
        raise SteerAnomalyError(
            f"{self.title} has no category {name!r}; {_did_you_mean(name, known)}. It has: {', '.join(known)}"
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
        raise SteerAnomalyError(
            f"no benchmark called {name!r}; {_did_you_mean(name, list(known))}. There are: {', '.join(known)}"
        )
    return read_card(path)


def read_card(path: Path) -> Card:
    """Reads one card. Raises `SteerAnomalyError` naming the file and the field that is wrong."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        card = _parse(path.stem, content)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise SteerAnomalyError(
            f"{path} is not a benchmark card ({type(error).__name__}: {error}); compare it with a "
            "shipped one, "
            "for example datasets/mvtec.yaml"
        ) from error
    if card.layout not in LAYOUTS:
        raise SteerAnomalyError(f"{path}: layout must be one of {', '.join(LAYOUTS)}, not {card.layout!r}")
    return card


def _parse(name: str, content: dict[str, Any]) -> Card:
    licence = content["licence"]
    return Card(
        name=name,
        title=content["title"],
        about=content["about"],
        layout=content["layout"],
        page=content["page"],
        paper=content.get("paper", ""),
        licence=Licence(
            licence["name"], licence["url"], bool(licence["restricted"]), licence.get("note", "")
        ),
        archives=tuple(Archive(a["file"], a["url"], a.get("sha256")) for a in content.get("archives") or ()),
        categories=tuple(Category(str(key), **value) for key, value in content["categories"].items()),
        published=tuple(_published(row) for row in content.get("published") or ()),
        pro_limit=float(content.get("pro_limit", 0.3)),
        image_folder=content.get("image_folder", ""),
    )


def _published(row: dict[str, Any]) -> Published:
    values = {key: float(row[key]) for key in METRICS if key in row}
    return Published(row["method"], row["setting"], row["source"], values)


def _did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "nothing is close to it"
