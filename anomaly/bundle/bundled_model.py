"""A bundle as the observer asks it: graphs of a runtime, and evidence by the same rules as in torch.

Imports no torch. Letters: T tiles, S the image side in pixels, N tokens, P prompts, h x w patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from anomaly import threads
from anomaly.bundle.contents import BundleError, Manifest
from anomaly.bundle.looking import Looking
from anomaly.bundle.runtimes import PACKAGES, Graph, open_graph
from anomaly.errors import SteerAnomalyError
from anomaly.evidence.descriptions import SEEN_BY, Description, content_hash
from anomaly.evidence.protocol import Describer, Evidence, Seen
from anomaly.evidence.whitening import whitened
from anomaly.pictures.sizes import grey_at, picture_at
from steervit.nano.squash import squashed

# What graphs are for. Of nano `look` is its network alone; its filters run here and go through `filtered`.
LOOK, FILTERED, STEER, UNLIKE, DESCRIBE = "look", "filtered", "steer", "unlike", "describe"
STEERED = (STEER,)  # graphs that run in the bundle's precision; all others run in float32


def lines_graph(size_hw: tuple[int, int]) -> str:
    """The name of the graph that looks for dark lines in a picture seen at this size (px)."""
    return f"lines_{size_hw[0]}x{size_hw[1]}"


@dataclass(frozen=True)
class Steered:
    """What the graphs gave of T tiles: logits `maps` (T, P, h, w), patches before text `tokens` (T, h*w, D).

    `unlike` (T, h*w) and `cells` (T, 4h, 4w) where the model's own filters say so.
    """

    maps: np.ndarray
    tokens: np.ndarray
    unlike: np.ndarray | None = None
    cells: np.ndarray | None = None

    def split(self, size: int) -> list[Steered]:
        """The same, `size` tiles at a time."""
        pieces = [slice(i, i + size) for i in range(0, len(self.maps), size)]
        every = (self.maps, self.tokens, self.unlike, self.cells)
        return [Steered(*(None if one is None else one[piece] for one in every)) for piece in pieces]  # type: ignore[arg-type]


class BundledModel:
    """See `anomaly.observer.Model`. Graphs are opened when first asked, or by `prepare`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        self.grid_size, self.image_size = manifest.grid_size, manifest.image_size
        self.contrast = int(manifest.options["contrast"])
        self.device = f"{PACKAGES[manifest.runtime]} on cpu"
        self.describer: Describer = _Describer(self)
        self.evidence: Mapping[str, Evidence] = {
            "self_similarity": self._unlikeness,
            "dark_lines": self._lines,
        }
        self._graphs: dict[str, Graph] = {}

    def segment(self, tiles: np.ndarray, object: str) -> Steered:
        """Tiles uint8 (T, S, S, 3) -> what the model gives of each. Raises `SteerAnomalyError` for another part."""
        self._check(object)
        x, *own = self._look(tiles)
        logits, *tokens = self.graph(STEER)(x)
        return Steered(logits, tokens[0] if tokens else x, *own)

    def _look(self, tiles: np.ndarray) -> Sequence[np.ndarray]:
        if FILTERED not in self._manifest.graphs:
            return self.graph(LOOK)(tiles)
        network = self.graph(LOOK) if LOOK in self._manifest.graphs else None
        return Looking(self.image_size[0] // self.grid_size[0], self.graph(FILTERED), network)(tiles)

    def prepare(self, object: str, last: bool = False) -> None:
        """Open the graphs now. Raises `SteerAnomalyError` for another part than the bundle's."""
        self._check(object)
        for name in self._manifest.graphs:
            self.graph(name)

    def graph(self, name: str) -> Graph:
        """The graph for one purpose. Raises `BundleError` when the bundle was exported without it."""
        if name not in self._graphs:
            if name not in self._manifest.graphs:
                raise BundleError(f"expected a bundle with a graph {name!r}, this one has none: export again")
            precision = self._manifest.precision if name in STEERED else "fp32"
            path = self._folder / self._manifest.graphs[name]
            self._graphs[name] = open_graph(path, self._manifest.runtime, precision, threads.chosen())
        return self._graphs[name]

    @property
    def steervit(self) -> NoReturn:
        """There is none. Raises `SteerAnomalyError`."""
        raise SteerAnomalyError(
            "expected a model in torch, got a bundle of graphs: use the model that it was exported from"
        )

    @cached_property
    def squashes(self) -> bool:
        """Whether pictures are described by nano's eyes, else by the model's own tokens."""
        return self._manifest.description == "eyes"

    @property
    def seen_by(self) -> str:
        """How pictures are described."""
        return SEEN_BY["eyes" if self.squashes else "tokens"]

    def _check(self, object: str) -> None:
        if object != self._manifest.object:
            raise SteerAnomalyError(
                f"expected the part that this bundle was exported for, {self._manifest.object!r}, got {object!r}: its "
                "prompts are folded into it; export another bundle"
            )

    def _unlikeness(self, seen: Seen) -> np.ndarray:
        found: Steered = seen.found
        scores = found.unlike
        if scores is None:
            (scores,) = self.graph(UNLIKE)(whitened(found.tokens))
        return seen.tiling.blend(scores.reshape(-1, 1, *seen.tiling.grid))[0]

    def _lines(self, seen: Seen) -> np.ndarray:
        if seen.whole and seen.found.cells is not None:
            return seen.found.cells[0]
        grey = grey_at(seen.image, seen.size_hw)[None, None]
        return self.graph(lines_graph(seen.size_hw))(grey)[0][0]


class _Describer:
    """Describes pictures for comparing, by the graph for it."""

    def __init__(self, model: BundledModel) -> None:
        self._model, self.name = model, model.seen_by

    def __call__(self, image: np.ndarray) -> Description:
        """See `anomaly.evidence.protocol.Describer`."""
        model = self._model
        seen = squashed(image) if model.squashes else picture_at(image, model.image_size)
        (patches,) = model.graph(DESCRIBE)(np.ascontiguousarray(seen)[None])
        side = model.grid_size if not model.squashes else (round(patches.shape[1] ** 0.5),) * 2
        return Description(patches[0].reshape(*side, -1), content_hash(image))
