"""The models known by name, as `models.yaml` lists them. Fetches nothing and reads no weights."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from steervit.did_you_mean import did_you_mean
from steervit.schema import STRICT, Flag, Whole, parse, read_yaml

LIST = Path(__file__).with_name("models.yaml")
NANO = Path(__file__).parent.parent / "nano" / "weights"


@dataclass(frozen=True, config=STRICT)
class HubFile:
    """One file of a hub repository. None: newest revision, unknown size, or hash not published."""

    repo: str
    file: str
    revision: str | None = None
    bytes: Whole | None = None
    sha256: str | None = None


@dataclass(frozen=True, config=STRICT)
class TextEncoderFiles:
    """A text encoder's weights, the small files that must lie beside them, and those that may."""

    weights: HubFile
    beside: tuple[HubFile, ...] = ()
    perhaps: tuple[HubFile, ...] = ()

    @property
    def needed(self) -> tuple[HubFile, ...]:
        return (self.weights, *self.beside)


@dataclass(frozen=True, config=STRICT)
class ModelCard:
    """What the list says of one model. `checkpoint` is None for the embedded one.

    `trunk` is a timm name; None means the one that the checkpoint's own config names.
    """

    name: str
    about: str
    licence: str
    commercial: Flag
    checkpoint: HubFile | None = None
    trunk: str | None = None
    text: str | None = None

    @property
    def embedded(self) -> bool:
        return self.checkpoint is None

    @property
    def notice(self) -> str | None:
        """What to tell whoever uses the model; None where use is free."""
        if self.commercial:
            return None
        return (
            f"{self.name}: the licence of these weights is '{self.licence}', no commercial use; "
            "`steer-anomaly models list` marks the models that may be used commercially"
        )


@dataclass(frozen=True, config=STRICT)
class TextEncoderEntry(HubFile):
    """What the list says of a text encoder: its weights, and what must or may lie beside them."""

    beside: tuple[str, ...] = Field(default=(), alias="with")
    perhaps: tuple[str, ...] = ()


def _named(models: Any) -> Any:
    """A model's name is its key in the table."""
    if not isinstance(models, dict):
        return models
    return {
        name: {"name": name, **entry} if isinstance(entry, dict) else entry for name, entry in models.items()
    }


@dataclass(frozen=True, config=STRICT)
class Catalogue:
    """The whole list: models by name, trunks by their timm name, text encoders by the name a config gives."""

    models: Annotated[dict[str, ModelCard], BeforeValidator(_named)]
    trunks: dict[str, HubFile]
    text_encoders: dict[str, TextEncoderEntry]


@cache
def catalogue() -> Catalogue:
    """The list that ships. Raises ValueError for one that was damaged."""
    return parse(Catalogue, read_yaml(LIST), str(LIST))


def list_models() -> list[ModelCard]:
    """Every model of the list, in its order, the embedded one first."""
    return list(catalogue().models.values())


def is_name(name_or_path: str | Path) -> bool:
    """Whether a model of the list is meant, and no path: its exact name, as text.

    A folder `nano` in the working directory does not hide the model; `./nano` or `Path("nano")` names the folder.
    """
    return isinstance(name_or_path, str) and name_or_path in catalogue().models


def find(name: str) -> ModelCard:
    """The model called `name`; the published file name (`steervit_dinov2_base.pth`) is understood too.

    Raises `ValueError` that names the nearest ones.
    """
    cards = catalogue().models
    wanted = name.lower().removesuffix(".pth").removeprefix("steervit").replace("_", "-").strip("-")
    if wanted in cards:
        return cards[wanted]
    raise ValueError(
        f"no model called {name!r}, and no such file or folder{did_you_mean(wanted, cards)} "
        f"There are: {', '.join(cards)}"
    )


def licence_notice(name: str) -> str | None:
    """The sentence to print when the model `name` is used: for research-only weights, else None.

    A name that is not in the list (a file of one's own) has none.
    """
    try:
        return find(name).notice
    except ValueError:
        return None


def trunk_file(timm_name: str) -> HubFile:
    """Where the weights of the timm model `timm_name` are published; asks timm for those not in the list.

    Raises `ValueError` when timm knows no weights under that name.
    """
    if timm_name in catalogue().trunks:
        return catalogue().trunks[timm_name]
    import timm

    try:
        published = timm.get_pretrained_cfg(timm_name)
    except RuntimeError:  # timm's way of saying that the name or its tag is unknown
        published = None
    if published is None or not published.hf_hub_id:
        raise ValueError(f"timm knows no weights of a trunk {timm_name!r}: pass its weights as a local file")
    return HubFile(published.hf_hub_id, published.hf_hub_filename or "model.safetensors")


def text_encoder_files(name: str) -> TextEncoderFiles:
    """The files of the text encoder `name`, a name of the list or a hub repository of RoBERTa's layout.

    Raises `ValueError` when `name` can be neither.
    """
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise ValueError(
            f"expected the text encoder's name on the hub, got {name!r}: pass its folder as text_encoder"
        )
    entries = catalogue().text_encoders
    by_repo = {entry.repo: entry for entry in entries.values()}
    known = entries.get(name) or by_repo.get(name)
    like = (
        known or entries["roberta-large"]
    )  # another repository has the same files, of unknown size and hash
    weights = HubFile(name, like.file, like.revision)
    if known is not None:
        weights = HubFile(known.repo, known.file, known.revision, known.bytes, known.sha256)

    def small(files: tuple[str, ...]) -> tuple[HubFile, ...]:
        return tuple(HubFile(weights.repo, file, weights.revision) for file in files)

    return TextEncoderFiles(weights, small(like.beside), small(like.perhaps))
