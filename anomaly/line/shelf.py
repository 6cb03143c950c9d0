"""The profiles of a folder, each with an inspector that is ready, all with one model in memory.

A profile that changes on the disk is read again. Knows no requests.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomaly.decision.profile import Profile
from anomaly.decision.profile_file import load
from anomaly.decision.profiled import arguments_of
from anomaly.errors import SteerAnomalyError
from anomaly.inspector import Inspector
from anomaly.line.versions import SUFFIX, Version, Versions, is_name, versions_of
from anomaly.model_files import FoundModel, find_model
from steervit.weights.catalogue import is_name as is_listed

if TYPE_CHECKING:
    from anomaly.bundle.opened import OpenedBundle


@dataclass(frozen=True)
class Ready:
    """A profile that judges: its name, version and inspector."""

    name: str
    version: Version
    profile: Profile
    inspector: Inspector


class Shelf:
    """The profiles below `folder`; `model` where parts are judged by their name alone.

    Trunk, text encoder and device are as in `Inspector`; at most `objects` parts' prompts are kept.
    """

    def __init__(
        self, folder: Path, *, model: str = "nano", trunk: str | None = None, text_encoder: str | None = None,
        device: str | None = None, objects: int = 32,
    ) -> None:  # fmt: skip
        if not folder.is_dir():
            raise SteerAnomalyError(
                f"expected a folder of profiles, {folder} is none; make it, it may be empty"
            )
        self.folder, self.model = folder, model
        self._trunk, self._text, self._device, self._objects = trunk, text_encoder, device, objects
        self._found: dict[str, FoundModel] = {}
        self._ready: dict[str, tuple[Any, Ready]] = {}
        self._alone: OrderedDict[str, Inspector] = OrderedDict()
        self._lock = threading.RLock()
        self._shared(model)  # a model that is none is said now

    def names(self) -> list[str]:
        """The profiles there are, in the order of their names."""
        return sorted(
            path.stem for path in self.folder.glob(f"*{SUFFIX}") if is_name(path.stem) and path.is_file()
        )

    def ready(self, name: str) -> Ready | None:
        """The profile of that name, None where there is none. Raises `SteerAnomalyError` for one that is broken."""
        with self._lock:
            if name not in self.names():
                self._ready.pop(name, None)
                return None
            versions = self.versions(name)
            try:
                status = versions.path.stat()
            except FileNotFoundError:  # deleted just now
                return None
            state = (status.st_mtime_ns, status.st_size, status.st_ino)
            if name not in self._ready or self._ready[name][0] != state:
                profile = load(versions.path)
                inspector = self.inspector(profile)
                inspector.prepare(profile.object)
                self._ready[name] = (state, Ready(name, versions.current(), profile, inspector))
            return self._ready[name][1]

    def versions(self, name: str) -> Versions:
        """The versions of a profile of that name, there or not. Raises `SteerAnomalyError` for what is no name."""
        return versions_of(self.folder, name)

    def inspector(self, profile: Profile) -> Inspector:
        """An inspector that judges by `profile`, with the model that is in memory."""
        return Inspector.from_profile(
            profile, model=self._shared(self._model_of(profile)), device=self._device
        )

    def looking(self, profile: Profile) -> Inspector:
        """An inspector that observes good pictures for calibrating `profile` anew."""
        known = arguments_of(profile, self._shared(self._free_model(profile)))
        compares = bool(profile.provenance.references)
        return Inspector(**known | {"references": (), "mutual": compares}, device=self._device)

    def fresh(self) -> Inspector:
        """An inspector that observes good pictures for a part's first profile, to be compared with each other."""
        return Inspector(self._shared(self._free_model()), mutual=True, device=self._device)

    def alone(self, part: str) -> Inspector:
        """An inspector of parts that are called so, told nothing else; the least used one goes when there are many."""
        with self._lock:
            if part not in self._alone:
                made = Inspector(self._shared(self.model), device=self._device)
                made.prepare(part)
                self._alone[part] = made
            self._alone.move_to_end(part)
            while len(self._alone) > self._objects:
                self._alone.popitem(last=False)
            return self._alone[part]

    @property
    def only_part(self) -> str | None:
        """What parts have to be called that are judged by name alone; None for any name."""
        bundle = self._bundle
        return bundle.manifest.object if bundle else None

    @property
    def _bundle(self) -> OpenedBundle | None:
        return self._shared(self.model).bundle

    def _model_of(self, profile: Profile) -> str:
        """The bundle where it scores as the profile was calibrated, else the profile's own model."""
        bundle = self._bundle
        if bundle is not None and bundle.settings.hash == profile.settings_hash:
            return self.model
        return self._free_model(profile)

    def _free_model(self, profile: Profile | None = None) -> str:
        """A model that can be asked anything: where ours is a bundle, whose settings are fixed, what it was made of.

        Raises `SteerAnomalyError` where that is no model of the list.
        """
        if profile is not None and is_listed(profile.model):
            return profile.model
        bundle = self._bundle
        if bundle is None:
            return self.model
        name = str(bundle.manifest.model["name"])
        if not is_listed(name):
            raise SteerAnomalyError(
                f"expected a model to score with other settings, got a bundle of {name}, whose settings are fixed: "
                "serve with --model and that model's files, or calibrate elsewhere"
            )
        return name

    def _shared(self, model: str) -> FoundModel:
        with self._lock:
            if model not in self._found:
                found = find_model(model, self._trunk, self._text)
                self._found[model] = replace(found, load=cache(found.load))
            return self._found[model]
