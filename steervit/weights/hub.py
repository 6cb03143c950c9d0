"""Gathers the parts of a published model: checkpoint, trunk and text encoder, from the hub or from its cache.

Looks inside a checkpoint only for the name of its trunk, where the list does not give it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from steervit.weights.catalogue import (
    NANO,
    HubFile,
    ModelCard,
    TextEncoderFiles,
    find,
    licence_notice,
    list_models,
    text_encoder_files,
    trunk_file,
)
from steervit.weights.download import AbsentError, Hub, HubError, UnreachableError

__all__ = [
    "HubError",
    "ModelCard",
    "ModelPaths",
    "NotPulledError",
    "ensure",
    "find",
    "licence_notice",
    "list_models",
    "locate",
    "pull",
    "text_encoder_path",
    "trunk_path",
]


class NotPulledError(FileNotFoundError):
    """Files are not on this machine and cannot be fetched now; one sentence says how to get them."""


@dataclass(frozen=True)
class ModelPaths:
    """Where a model's parts lie: the checkpoint's file, the trunk's file, the text encoder's folder.

    For the embedded model only `checkpoint` is set, to its folder.
    """

    checkpoint: Path
    trunk: Path | None = None
    text: Path | None = None


@dataclass(frozen=True)
class _Wanted:
    """On whose behalf files are gathered, how, and which command would fetch them."""

    who: str
    hub: Hub
    command: str
    online: bool

    def gather(self, files: Sequence[HubFile]) -> list[Path]:
        if self.online:
            try:
                return [self.hub.fetch(file) for file in files]
            except UnreachableError as error:
                raise NotPulledError(
                    self._sentence(files, f" and the hub cannot be reached ({error})")
                ) from error
        found = [path for file in files if (path := self.hub.cached(file)) is not None]
        if len(found) < len(files):
            raise NotPulledError(self._sentence(files, ""))
        return found

    def _sentence(self, files: Sequence[HubFile], why: str) -> str:
        missing: dict[str, list[str]] = {}
        for file in files:
            if self.hub.cached(file) is None:
                missing.setdefault(file.repo, []).append(file.file)
        names = " and ".join(f"{', '.join(files)} of {repo}" for repo, files in missing.items())
        folders = ", ".join("models--" + repo.replace("/", "--") for repo in missing)
        return (
            f"{self.who} needs {names}, which cannot be found in {self.hub.cache_dir}{why}: run "
            f"`{self.command}` with a network, or run it on a machine that has one and copy {folders} from "
            "its cache into that folder"
        )


def pull(
    name: str,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    endpoint: str | None = None,
    revision: str | None = None,
) -> ModelPaths:
    """Fetch everything the model `name` needs and check it; what is in the cache already is only checked.

    `cache_dir` defaults to the hub's (`HF_HUB_CACHE`), `endpoint` to `HF_ENDPOINT`; `revision` replaces the
    checkpoint's pinned one. An interrupted download goes on where it stopped. Raises `ValueError` for an
    unknown name, `HubError` when a file is not the published one, `NotPulledError` without a network.
    """
    card = find(name)
    if revision is not None and card.checkpoint is not None:
        card = replace(card, checkpoint=replace(card.checkpoint, revision=revision))
    with _progress_bars(progress):
        return _paths(card, _for(card, _hub(cache_dir, endpoint), online=True))


def locate(name: str, cache_dir: str | Path | None = None) -> ModelPaths:
    """Where the parts of `name` lie in the cache; uses no network and computes no hashes.

    Raises `NotPulledError`, one sentence with everything that is missing; `ValueError` for an unknown name.
    """
    card = find(name)
    return _paths(card, _for(card, _hub(cache_dir), online=False))


def ensure(name: str, local_only: bool = False, cache_dir: str | Path | None = None) -> ModelPaths:
    """`locate`, then `pull` if something is missing and `local_only` is not set."""
    try:
        return locate(name, cache_dir)
    except NotPulledError:
        if local_only:
            raise
    return pull(name, cache_dir)


def trunk_path(timm_name: str, local_only: bool = False, cache_dir: str | Path | None = None) -> Path:
    """The weights of the timm trunk `timm_name`, fetched if need be. Raises as `pull` does."""
    file = trunk_file(timm_name)
    return _part(f"the trunk {timm_name}", [file], local_only, _hub(cache_dir))[0]


def text_encoder_path(name: str, local_only: bool = False, cache_dir: str | Path | None = None) -> Path:
    """The folder of the text encoder `name`, fetched if need be. Raises as `pull` does."""
    files = text_encoder_files(name)
    return _part(f"the text encoder {name}", files.needed, local_only, _hub(cache_dir))[0].parent


def _part(who: str, files: Sequence[HubFile], local_only: bool, hub: Hub) -> list[Path]:
    command = f"hf download {files[0].repo} " + " ".join(file.file for file in files)
    if all(hub.cached(file) is not None for file in files):
        local_only = True  # nothing to ask the hub for
    return _Wanted(who, hub, command, online=not local_only).gather(files)


def _for(card: ModelCard, hub: Hub, online: bool) -> _Wanted:
    return _Wanted(card.name, hub, f"steer-anomaly models pull {card.name}", online)


def _paths(card: ModelCard, wanted: _Wanted) -> ModelPaths:
    if card.checkpoint is None:
        return ModelPaths(NANO)
    text = text_encoder_files(card.text or "roberta-large")
    trunk = trunk_file(card.trunk) if card.trunk else None
    # The small files first: a wrong revision or no network shows before gigabytes are fetched.
    files = [card.checkpoint, *text.beside, *([trunk] if trunk else []), text.weights]
    path = dict(zip(files, wanted.gather(files), strict=True))
    if wanted.online:
        _fetch_if_there(wanted.hub, text)
    checkpoint, folder = path[card.checkpoint], path[text.weights].parent
    if trunk is None:
        named = trunk_file(_trunk_named_in(checkpoint))
        return ModelPaths(checkpoint, wanted.gather([named])[0], folder)
    return ModelPaths(checkpoint, path[trunk], folder)


def _fetch_if_there(hub: Hub, text: TextEncoderFiles) -> None:
    for file in text.perhaps:
        try:
            hub.fetch(file)
        except (AbsentError, UnreachableError):
            continue


def _trunk_named_in(checkpoint: Path) -> str:
    from steervit.weights.checkpoint import read_checkpoint

    return read_checkpoint(checkpoint).config["vision_encoder"]["model_name"]


def _hub(cache_dir: str | Path | None, endpoint: str | None = None) -> Hub:
    if cache_dir is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        cache_dir = HF_HUB_CACHE
    return Hub(Path(cache_dir).expanduser(), endpoint)


@contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
