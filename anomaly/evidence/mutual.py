"""Mutual scoring: an image's patches compared with those of other images of the same run, without any label.

A patch's distance to its nearest patch in each partner, mean over the lowest share of the partners; the exact
published form is `musc_scores`. Knows nothing of models or of what files are called.
Letters: N images, L patches (may differ between images), C channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.mutual_products import Precision, Prepared, products_of
from anomaly.evidence.mutual_ring import Meeting, meetings, partner_places, ring
from anomaly.evidence.mutual_run_scale import RunScale
from anomaly.evidence.mutual_scale import RobustScale, robust_scale, robust_scores
from anomaly.evidence.mutual_store import FeatureStore, KeptScores, Mutual

__all__ = [
    "Company",
    "FeatureStore",
    "Mutual",
    "MutualSettings",
    "RobustScale",
    "mutual_scores",
    "robust_scale",
    "robust_scores",
]

COPY = 0.1  # of the distance to a typical partner: an image nearer than that everywhere is a copy
NEARLY_EVERYWHERE = 0.9  # share of the patches
CACHE = 512_000_000  # bytes of prepared descriptions that are kept in memory

Progress = Callable[[int, int], object]  # images compared, images in all


@dataclass(frozen=True)
class MutualSettings:
    """How images are compared. `partners`: how many others each is compared with at most, all when no more.

    `lowest`: share of the partners that count. `standardise`: divide each channel by its deviation over the run, for
    descriptions that are not unit vectors. `precision` of the products: "half" only where torch is there and the
    processor has it, else "single"; "rounded" gives the numbers of half precision anywhere, as fast as single.
    """

    partners: int = 100
    lowest: float = 0.3
    standardise: bool = False
    precision: Precision = "half"

    def __post_init__(self) -> None:
        if self.partners < 2 or self.partners % 2:
            raise SteerAnomalyError(
                f"expected partners to be even and 2 or more, got {self.partners}: try 100"
            )
        if not 0 < self.lowest <= 1:
            raise SteerAnomalyError(f"expected lowest to be a share above 0 and up to 1, got {self.lowest:g}")
        if self.precision not in get_args(Precision):
            raise SteerAnomalyError(
                f"expected a precision of {', '.join(get_args(Precision))}, got {self.precision!r}"
            )


class Company:
    """The images `keys` of a store, ready to be compared. Copies are one key, so they never meet.

    The order of keys does not matter. Raises `SteerAnomalyError` for fewer than two, and for images the store lacks
    or whose layers do not fit together.
    """

    def __init__(
        self, store: FeatureStore, keys: Iterable[str], settings: MutualSettings | None = None
    ) -> None:
        self.store, self.settings = store, settings or MutualSettings()
        self.keys = ring(keys)
        if len(self.keys) < 2:
            raise SteerAnomalyError(
                f"expected at least 2 images of different content to compare, got {len(self.keys)}: "
                "add images of the same part, or switch mutual scoring off"
            )
        self.slots = min(self.settings.partners, len(self.keys) - 1)
        self.scale = RunScale.of((store.moments(key) for key in self.keys), self.settings.standardise)
        self.products = products_of(self.settings.precision)

    @property
    def hash(self) -> str:
        """SHA-256 in hex of the set: the images, how they were described and how they are compared."""
        named = [sorted(self.keys), self.store.settings_hash, asdict(self.settings), self.products.name]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    def partners(self, key: str) -> list[str]:
        """Whom `key` is compared with: its neighbours on the ring of all images."""
        places = partner_places(self.keys.index(key), len(self.keys), self.settings.partners)
        return [self.keys[place] for place in places]

    def scores(self, finished: Path | None = None, progress: Progress | None = None) -> dict[str, Mutual]:
        """The scores of every image, by key. `finished`: a folder in which what is done is kept for going on.

        A run that goes on gives the same bytes as one that was not interrupted; another set of images, or other
        settings, begin anew beside it. Raises `SteerAnomalyError` when a file cannot be written.
        """
        kept = KeptScores(None if finished is None else finished / self.hash[:16])
        done = kept.read(self.keys)
        prepared = Prepared(self.store, self.scale, self.products, CACHE)
        waiting: dict[int, _Distances] = {}
        for meeting in meetings(len(self.keys), self.settings.partners):
            if not {self.keys[meeting.left], self.keys[meeting.right]} <= done.keys():
                self._meet(meeting, prepared, waiting, done)
            for place in (meeting.left, meeting.right):
                if place in waiting and not waiting[place].missing:
                    key, distances = self.keys[place], waiting.pop(place)
                    done[key] = self._judge(place, distances)
                    kept.write(key, done[key])
                    if progress is not None:
                        progress(len(done), len(self.keys))
        return {key: done[key] for key in sorted(done)}

    def nearest(self, key: str, patches: Sequence[int], other: str) -> tuple[np.ndarray, np.ndarray]:
        """Where `patches` of image `key` are likest in image `other`: its patches (int64), distances (float32).

        Distances are means over layers, in the unit of the scores. Raises `SteerAnomalyError` for a patch that
        the image does not have.
        """
        mine, theirs = self.scale(self.store.layers(key)), self.scale(self.store.layers(other))
        if not all(0 <= patch < len(mine[0]) for patch in patches):
            raise SteerAnomalyError(f"expected patches of 0 to {len(mine[0]) - 1}, got {list(patches)}")
        each = [
            np.stack([np.linalg.norm(two - one[patch], axis=1) for patch in patches]) / spread
            for one, two, spread in zip(mine, theirs, self.scale.spread, strict=True)
        ]
        distances = np.mean(each, 0, dtype=np.float32)
        return distances.argmin(1), distances.min(1)

    def _meet(
        self,
        meeting: Meeting,
        prepared: Prepared,
        waiting: dict[int, _Distances],
        done: Mapping[str, Mutual],
    ) -> None:
        lefts, rights = prepared.left(self.keys[meeting.left]), prepared[self.keys[meeting.right]]
        found = [self.products.nearest(left, right) for left, right in zip(lefts, rights, strict=True)]
        sides = (meeting.left, meeting.left_slot), (meeting.right, meeting.right_slot)
        for (place, slot), halves in zip(sides, zip(*found, strict=True), strict=True):
            if self.keys[place] not in done:
                if place not in waiting:
                    waiting[place] = _Distances(self.slots, halves, self.products.in_half)
                waiting[place].put(slot, halves)

    def _judge(self, place: int, distances: _Distances) -> Mutual:
        each = distances.distances(self.scale.spread)
        scores, original, likest = lowest_mean(each, self.settings.lowest)
        others = partner_places(place, len(self.keys), self.settings.partners)
        return Mutual(scores, original, self.keys[others[likest]])


def lowest_mean(each: np.ndarray, lowest: float) -> tuple[np.ndarray, int, int]:
    """Distances (layers, partners, L) -> scores (L,) float32, how many partners are no copies, which is the likest.

    The mean over the `lowest` share (0..1) of the partners, then over layers; copies of the image do not count.
    """
    of_partner = each.mean(0)
    far = np.quantile(of_partner, NEARLY_EVERYWHERE, axis=1)
    original = far >= COPY * np.median(far)
    likest = int(np.where(original, of_partner.mean(1), np.inf).argmin())
    left = each[:, original]
    count = max(min(2, left.shape[1]), int(lowest * left.shape[1]))
    nearest = np.partition(left, count - 1, axis=1)[:, :count]
    scores = nearest.mean(1, dtype=np.float64).mean(0).astype(np.float32)
    return scores, int(original.sum()), likest


class _Distances:
    """Half squared distances of one image's patches to its partners', by layer, until all partners were met."""

    def __init__(self, slots: int, like: Sequence[np.ndarray], in_half: bool) -> None:
        self._in_half = in_half
        kind = np.uint16 if in_half else np.float32  # the upper half of a float32 is its bfloat16
        self._halves = np.empty((len(like), slots, len(like[0])), kind)
        self.missing = slots

    def put(self, slot: int, halves: Sequence[np.ndarray]) -> None:
        for layer, values in enumerate(halves):
            self._halves[layer, slot] = values.view(np.uint32) >> np.uint32(16) if self._in_half else values
        self.missing -= 1

    def distances(self, spread: Sequence[float]) -> np.ndarray:
        """(layers, partners, L) float32, in units of each layer's `spread`."""
        halves = self._halves
        if self._in_half:
            halves = (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.sqrt(2 * halves) / np.asarray(spread, np.float32)[:, None, None]


def mutual_scores(
    store: FeatureStore,
    keys: Iterable[str],
    settings: MutualSettings | None = None,
    finished: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Mutual]:
    """The images `keys` of `store` compared: `Company(store, keys, settings).scores(finished, progress)`."""
    return Company(store, keys, settings).scores(finished, progress)
