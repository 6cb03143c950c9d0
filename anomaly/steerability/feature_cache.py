"""Features on disk, so that an interrupted evaluation goes on: found by settings, prompt and picture.

A piece is a file of some pictures' features for one prompt, written whole and never changed; a damaged one counts as
absent. Knows neither models nor what the features are for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from anomaly.errors import SteerAnomalyError
from steervit.files import write_whole

SUFFIX = ".safetensors"


class FeatureCache:
    """The features that one model with one set of `settings` gives, below `folder`."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder / _hash(json.dumps(settings, sort_keys=True))

    def read(self, prompt: str | None) -> dict[str, np.ndarray]:
        """Every feature known for `prompt` (None: without text), by the picture's key."""
        known: dict[str, np.ndarray] = {}
        for path in sorted(self._place(prompt).glob(f"*{SUFFIX}")):
            known |= _read_piece(path)
        return known

    def add(self, prompt: str | None, features: Mapping[str, np.ndarray]) -> None:
        """Keep features, all of one shape. Raises `SteerAnomalyError` when they cannot be written."""
        keys = sorted(features)
        facts = {"keys": json.dumps(keys), "prompt": prompt or ""}
        path = self._place(prompt) / f"{_hash(' '.join(keys))}{SUFFIX}"
        content = save({"features": np.stack([features[key] for key in keys])}, facts)
        try:
            write_whole(path, content)
        except OSError as error:
            raise SteerAnomalyError(
                f"features could not be written to {path.parent}: {error.strerror or error}; free space or choose "
                "another folder, what is there is kept"
            ) from error

    def forget(self, prompt: str | None) -> None:
        """Delete every feature known for `prompt`."""
        shutil.rmtree(self._place(prompt), ignore_errors=True)

    def _place(self, prompt: str | None) -> Path:
        return self.folder / ("without-text" if prompt is None else _hash(prompt))


def _read_piece(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="np") as file:
            return dict(zip(json.loads(file.metadata()["keys"]), file.get_tensor("features"), strict=True))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return {}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
