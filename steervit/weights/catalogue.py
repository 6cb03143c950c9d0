"""The models known by name, as `models.yaml` lists them. Fetches nothing and reads no weights."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LIST = Path(__file__).with_name("models.yaml")
NANO = Path(__file__).parent.parent / "nano" / "weights"


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository. None: newest revision, unknown size, or hash not published."""

    repo: str
    file: str
    revision: str | None = None
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class TextEncoderFiles:
    """A text encoder's weights, the small files that must lie beside them, and those that may."""

    weights: HubFile
    beside: tuple[HubFile, ...] = ()
    perhaps: tuple[HubFile, ...] = ()

    @property
    def needed(self) -> tuple[HubFile, ...]:
        return (self.weights, *self.beside)


@dataclass(frozen=True)
class ModelCard:
    """What the list says of one model. `checkpoint` is None for the embedded one.

    `trunk` is a timm name; None means the one that the checkpoint's own config names.
    """

    name: str
    about: str
    licence: str
    commercial: bool
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


def list_models() -> list[ModelCard]:
    """Every model of the list, in its order, the embedded one first."""
    return [_card(name, entry) for name, entry in _content()["models"].items()]


def is_name(name_or_path: str | Path) -> bool:
    """Whether a model of the list is meant, and no path: its exact name, as text.

    A folder `nano` in the working directory does not hide the model; `./nano` or `Path("nano")` names the folder.
    """
    return isinstance(name_or_path, str) and name_or_path in _content()["models"]


def find(name: str) -> ModelCard:
    """The model called `name`; the published file name (`steervit_dinov2_base.pth`) is understood too.

    Raises `ValueError` that names the nearest ones.
    """
    cards = {card.name: card for card in list_models()}
    wanted = name.lower().removesuffix(".pth").removeprefix("steervit").replace("_", "-").strip("-")
    if wanted in cards:
        return cards[wanted]
    near = difflib.get_close_matches(wanted, cards, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(
        f"no model called {name!r}, and no such file or folder; {hint}there are: {', '.join(cards)}"
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
    if timm_name in _content()["trunks"]:
        return HubFile(**_content()["trunks"][timm_name])
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
    entries = _content()["text_encoders"]
    by_repo = {entry["repo"]: entry for entry in entries.values()}
    model = entries["roberta-large"]  # another repository has the same files, but sizes and hashes unknown
    entry = entries.get(name) or by_repo.get(name) or {**model, "repo": name, "bytes": None, "sha256": None}
    where = {"repo": entry["repo"], "revision": entry["revision"]}
    return TextEncoderFiles(
        HubFile(**where, file=entry["file"], bytes=entry["bytes"], sha256=entry["sha256"]),
        tuple(HubFile(**where, file=file) for file in entry["with"]),
        tuple(HubFile(**where, file=file) for file in entry["perhaps"]),
    )


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(LIST.read_text(encoding="utf-8"))


def _card(name: str, entry: dict[str, Any]) -> ModelCard:
    file = None
    if not entry.get("embedded"):
        file = HubFile(*(entry[key] for key in ("repo", "file", "revision", "bytes", "sha256")))
    about = {key: entry[key] for key in ("about", "licence", "commercial")}
    return ModelCard(name, **about, checkpoint=file, trunk=entry.get("trunk"), text=entry.get("text"))
