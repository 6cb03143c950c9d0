"""A model as the benchmarks use it: pictures and a sentence in, features out, each computed once.

Knows nothing of benchmarks. Letters: n pictures, D channels, h x w patches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.runs.journal import Journal, read_lines
from anomaly.runs.loop import Failure, run_all
from anomaly.steerability.encoders import Encoder, Transform
from anomaly.steerability.feature_cache import FeatureCache
from anomaly.steerability.picture import Picture
from steervit.processes import Processes

Compute = Callable[[Tensor, Sequence[str] | None], Tensor]

PIECE = 256  # pictures whose features are kept at a time: what an interruption may cost


class Readable(Protocol):
    """Anything with pixels to read."""

    def read(self) -> Image.Image:
        """The picture, RGB."""


class Keyed(Readable, Protocol):
    """What is kept is found again by its `key`."""

    @property
    def key(self) -> str:
        """A hash of whatever decides the pixels."""


One = TypeVar("One", bound=Readable)
Key = TypeVar("Key", bound=Keyed)


@dataclass(frozen=True)
class _Seen(Generic[One]):
    one: One
    image: np.ndarray


class Steered:
    """A model at one omega. `settings` say which weights; they are part of where features are kept in `folder`.

    Several `processes` share what is to be computed, and all get all of it. Pictures are read ahead of the model,
    a few at a time. For whatever is compared with pixels, the picture is squashed, not cropped.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: Path,
        settings: Mapping[str, Any],
        batch_size: int = 8,
        processes: Processes | None = None,
    ) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self.processes = processes or Processes()
        self.settings = {**settings, "image_size": list(encoder.image_size)}
        self._folder = folder

    def features(
        self, pictures: Sequence[Picture], prompt: str | None, normalised: bool = True
    ) -> np.ndarray:
        """Global features float32 (n, D), L2-normalised unless asked otherwise; `prompt` None: without text.

        Raises `SteerAnomalyError` for features that are not finite or zero, which point nowhere.
        """
        encode, transform = self.encoder.global_features, self.encoder.transform(whole=False)
        found = self.cached("global", pictures, prompt, encode, transform)
        length = np.linalg.norm(found, axis=1, keepdims=True)
        if not length.all():
            raise SteerAnomalyError(f"expected features other than 0, got 0 with the prompt {prompt!r}")
        return found / length if normalised else found

    def attention(self, pictures: Sequence[Picture], prompt: str | None) -> np.ndarray:
        """Where the CLS token looks, float32 (n, h, w) in 0..1; see `Encoder.attention`."""
        maps, transform = self.encoder.attention, self.encoder.transform(whole=True)
        return self.cached("attention", pictures, prompt, maps, transform)

    def each(
        self,
        pictures: Sequence[One],
        texts: Callable[[One], str | None],
        compute: Compute,
        transform: Transform,
    ) -> Iterator[tuple[One, np.ndarray]]:
        """Each picture with what `compute` gives of it, in order; nothing is kept.

        `texts` is the sentence of a picture, for all of them or for none. Raises `SteerAnomalyError` for a picture that
        cannot be read (a figure over the others would be another benchmark's) and for values that are not finite.
        """

        def read(one: One) -> _Seen[One]:
            return _Seen(one, np.asarray(one.read()))

        def work(batch: list[_Seen[One]]) -> list[np.ndarray]:
            images = torch.stack([transform(Image.fromarray(seen.image)) for seen in batch])
            asked = [texts(seen.one) for seen in batch]
            known = [text for text in asked if text is not None]
            with torch.inference_mode():
                return list(compute(images, known or None).float().cpu().numpy())

        for one, row in run_all(
            pictures, read, work, lambda *_: None, lambda _, found: lambda: found, batch_size=self.batch_size
        ):
            if isinstance(row, Failure):
                raise SteerAnomalyError(row.reason)
            if not np.isfinite(row).all():
                raise SteerAnomalyError(
                    f"expected finite features, got others with the prompt {texts(one)!r}"
                )
            yield one, row

    def cached(
        self,
        what: str,
        pictures: Sequence[Key],
        prompt: str | None,
        compute: Compute,
        transform: Transform,
        then: Callable[[Key, np.ndarray], np.ndarray] = lambda one, found: found,
    ) -> np.ndarray:
        """What `compute`, and then `then`, gives of each picture, (n, ...), kept under the name `what`.

        See `each`. `then` gives arrays of one shape, and belongs to `what`.
        """
        cache = FeatureCache(self._folder, {**self.settings, "what": what})
        known = cache.read(prompt)
        self.processes.wait()  # until each has seen the same: nobody computes what another has just kept
        missing = list({one.key: one for one in pictures if one.key not in known}.values())
        share = self.processes.share(missing)
        for start in range(0, len(share), PIECE):
            piece = share[start : start + PIECE]
            found = self.each(piece, lambda _: prompt, compute, transform)
            fresh = {one.key: then(one, value) for one, value in found}
            cache.add(prompt, fresh)
            known |= fresh
        if self.processes.count > 1:
            self.processes.wait()
            known = cache.read(prompt)
        return np.stack([known[one.key] for one in pictures])

    def forget(self, what: str, prompt: str | None) -> None:
        """Deletes what `cached` keeps under the name `what` for `prompt`; to be called by all processes."""
        self.processes.wait()
        if self.processes.leads:
            FeatureCache(self._folder, {**self.settings, "what": what}).forget(prompt)

    def noted(
        self,
        name: str,
        about: Mapping[str, Any],
        pictures: Sequence[Key],
        texts: Callable[[Key], str | None],
        compute: Compute,
        transform: Transform,
        line: Callable[[Key, np.ndarray], Any],
        before: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """What `line` makes of each picture's output, JSON-able, by the picture's key; kept in a journal as it goes.

        See `each`. `about` is whatever else decides a line; `before` is called where there is anything left to do.
        """
        said = [dict(self.settings), dict(about), sorted({text for one in pictures if (text := texts(one))})]
        digest = hashlib.sha256(json.dumps([name, *said], sort_keys=True, default=str).encode()).hexdigest()[
            :24
        ]
        place, keys = self._folder / f"{name}-{digest}", {one.key for one in pictures}
        known = _lines(place, keys)
        self.processes.wait()
        missing = [one for one in pictures if one.key not in known]
        if missing:  # the same for all processes
            before()
        with Journal(place / f"{self.processes.rank}.jsonl", "key") as journal:
            for one, found in self.each(self.processes.share(missing), texts, compute, transform):
                journal.append({"key": one.key, "found": line(one, found)})
        self.processes.wait()
        return _lines(place, keys)


def _lines(place: Path, keys: set[str]) -> dict[str, Any]:
    files = sorted(place.glob("*.jsonl"))
    every = {one["key"]: one["found"] for path in files for one in read_lines(path, "key")[0]}
    return {key: every[key] for key in sorted(keys & every.keys())}
