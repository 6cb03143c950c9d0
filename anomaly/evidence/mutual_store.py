"""Patch descriptions of many images on disk, in half precision, and their scores: a file each, written whole.

What is written stays valid: a file is found by the hash of the image's content and the hash of the settings that
described it. Knows nothing of models or scores. Letters: L patches, C channels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from anomaly.errors import NotJudged, SteerAnomalyError
from steervit.files import write_whole

HASH = re.compile(r"[0-9a-f]{8,128}")
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Moments:
    """Mean and mean square (C,) of one layer's descriptions over the patches of an image, float64."""

    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, half: np.ndarray) -> Moments:
        """Of descriptions (L, C) in half precision."""
        exact = half.astype(np.float64)
        return cls(exact.mean(0), np.square(exact).mean(0))


class FeatureStore:
    """The descriptions of images under `folder`; those of other settings lie beside them, untouched.

    `settings_hash` and the keys of images are lower-case hex: a key is the hash of the image's *content*, so that
    copies of an image are one entry. Raises `SteerAnomalyError` for others.
    """

    def __init__(self, folder: Path, settings_hash: str) -> None:
        self.settings_hash = _checked(settings_hash, "settings hash")
        self.folder = folder / settings_hash[:16]

    def path(self, key: str) -> Path:
        """Where the descriptions of the image `key` lie, or would."""
        return self.folder / _checked(key, "image key")[:2] / f"{key}{SUFFIX}"

    def __contains__(self, key: str) -> bool:
        """Whether the image is there and whole; a damaged file counts as absent, `add` replaces it."""
        try:
            with self._open(key):
                return True
        except SteerAnomalyError:
            return False

    def add(self, key: str, layers: Sequence[np.ndarray]) -> None:
        """Write one description (L, C) for each layer, finite, of one L; an image that is there is left as it is.

        Raises `NotJudged` for a description that is not finite in half precision, `SteerAnomalyError` for other
        shapes, and when the file cannot be written (a full disk); what was there before stays.
        """
        if key in self:
            return
        content = save(_tensors(key, layers), {"settings": self.settings_hash})
        _write(self.path(key), content, f"descriptions of image {key[:12]}")

    def layers(self, key: str) -> list[np.ndarray]:
        """The descriptions (L, C) of each layer, float16. Raises `SteerAnomalyError` when absent or damaged."""
        with self._open(key) as file:
            return [file.get_tensor(f"layer_{number}") for number in range(_count(file))]

    def moments(self, key: str) -> list[Moments]:
        """Of each layer, without reading the descriptions. Raises `SteerAnomalyError` when absent or damaged."""
        with self._open(key) as file:
            return [
                Moments(file.get_tensor(f"mean_{number}"), file.get_tensor(f"square_{number}"))
                for number in range(_count(file))
            ]

    def _open(self, key: str) -> Any:
        path = self.path(key)
        try:
            file = safe_open(path, framework="np")
        except (OSError, SafetensorError) as error:
            raise SteerAnomalyError(
                f"expected the descriptions of image {key[:12]} at {path}, found none that is whole: describe it again"
            ) from error
        if (file.metadata() or {}).get("settings") != self.settings_hash:
            raise SteerAnomalyError(
                f"{path} was described with other settings than {self.settings_hash[:12]}: describe it again"
            )
        return file


@dataclass(frozen=True)
class Mutual:
    """What its fellows say about one image.

    `scores` (L,) float32 of at least 0; 1 is the distance of two patches drawn at random from the run.
    `partners`: how many images it was compared with (copies do not count); `closest`: the key of the most similar.
    """

    scores: np.ndarray
    partners: int
    closest: str


class KeptScores:
    """Scores of images that are done, a file each in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def read(self, keys: Iterable[str]) -> dict[str, Mutual]:
        """Of those of `keys` that are done and whole."""
        if self.folder is None or not self.folder.is_dir():
            return {}
        read = ((key, _kept(self.folder / f"{key}{SUFFIX}")) for key in keys)
        return {key: mutual for key, mutual in read if mutual is not None}

    def write(self, key: str, mutual: Mutual) -> None:
        """Raises `SteerAnomalyError` when the file cannot be written."""
        if self.folder is not None:
            facts = json.dumps({"closest": mutual.closest, "partners": mutual.partners})
            tensors = {"scores": np.ascontiguousarray(mutual.scores)}
            _write(
                self.folder / f"{key}{SUFFIX}", save(tensors, {"facts": facts}), f"scores of image {key[:12]}"
            )


def _kept(path: Path) -> Mutual | None:
    try:
        with safe_open(path, framework="np") as file:
            facts = json.loads(file.metadata()["facts"])
            return Mutual(file.get_tensor("scores"), facts["partners"], facts["closest"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _write(path: Path, content: bytes, what: str) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise SteerAnomalyError(
            f"{what} ({len(content) / 1e6:.1f} MB) could not be written to {path.parent}: "
            f"{error.strerror or error}; free space or choose another folder, what is there is kept"
        ) from error


def _tensors(key: str, layers: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    shapes = [tuple(layer.shape) for layer in layers]
    if not shapes or any(len(s) != 2 or not all(s) for s in shapes) or len({s[0] for s in shapes}) > 1:
        raise SteerAnomalyError(
            f"expected a description L x C for each layer, all of one L, got {shapes} for image {key[:12]}"
        )
    tensors: dict[str, np.ndarray] = {}
    for number, layer in enumerate(layers):
        with np.errstate(over="ignore"):  # becomes infinite, and is refused
            half = np.ascontiguousarray(layer, np.float16)
        if not np.isfinite(half).all():
            raise NotJudged(
                f"expected finite descriptions below 65504, got others in layer {number} of image {key[:12]}"
            )
        moments = Moments.of(half)
        tensors |= {
            f"layer_{number}": half,
            f"mean_{number}": moments.mean,
            f"square_{number}": moments.square,
        }
    return tensors


def _count(file: Any) -> int:
    return sum(name.startswith("layer_") for name in list(file.keys()))


def _checked(value: str, name: str) -> str:
    if not HASH.fullmatch(value):
        raise SteerAnomalyError(
            f"expected a {name} of 8 to 128 hex digits, got {value!r}: give a hash of the content"
        )
    return value
