"""Mutual scoring of an archive: some images are drawn once, spread over its time, and each is compared with these.

One pass, and the same scores in whatever order and by how many workers it is made. Letters: h x w patches, L of them,
C channels. `_bank/` of a table keeps the descriptions, and the scales that make z-scores.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.archive.entry import Entry
from anomaly.archive.manifest import Manifest, Shard, read_columns, read_shard
from anomaly.archive.places import Place
from anomaly.archive.reading import read_picture
from anomaly.comparison import FEWEST, Comparison, sampled
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.descriptions import Description
from anomaly.evidence.mutual import MutualSettings, lowest_mean
from anomaly.evidence.mutual_products import Products, products_of
from anomaly.evidence.mutual_run_scale import RunScale
from anomaly.evidence.mutual_scale import RobustScale, robust_scale
from anomaly.evidence.mutual_store import Moments, Mutual

if TYPE_CHECKING:
    from anomaly.inspection import Inspection
    from anomaly.inspector import Inspector

FILE = "_bank/bank.npz"
MOST = 2000  # images


@dataclass(frozen=True)
class Bank:
    """Images to be compared with: contents, and patches (L, C) float16 of each; the scale of a run's own maps."""

    contents: tuple[str, ...]
    patches: tuple[np.ndarray, ...]
    own_scale: RobustScale

    def scored(self, description: Description) -> Mutual:
        """What the bank says of one image; its own copy in it does not count."""
        flat = description.patches.reshape(-1, description.channels)
        return self._scored(flat.astype(np.float16), description.content)

    @cached_property
    def scale(self) -> RobustScale:
        """What is usual: the scores of the bank's own images, each by all others."""
        pairs = zip(self.patches, self.contents, strict=True)
        return robust_scale([self._scored(patches, content).scores for patches, content in pairs])

    def _scored(self, patches: np.ndarray, content: str) -> Mutual:
        (mine,) = self._run_scale([patches])
        left = self._products.left(self._products.right(mine))
        others = [i for i, other in enumerate(self.contents) if other != content]
        halves = np.stack([self._products.nearest(left, self._rights[i])[0] for i in others])
        each = (np.sqrt(2 * halves) / np.float32(self._run_scale.spread[0]))[None]
        scores, partners, likest = lowest_mean(each, MutualSettings().lowest)
        return Mutual(scores, partners, self.contents[others[likest]])

    @cached_property
    def _products(self) -> Products:
        return products_of(MutualSettings().precision)

    @cached_property
    def _run_scale(self) -> RunScale:
        return RunScale.of(([Moments.of(one)] for one in self.patches), MutualSettings().standardise)

    @cached_property
    def _rights(self) -> list[Any]:
        return [self._products.right(self._run_scale([one])[0]) for one in self.patches]


class BesideBank:
    """An inspector whose images are compared with a bank, one by one, and with the references where it has some."""

    def __init__(self, inspector: Inspector, bank: Bank, part: str) -> None:
        self._inspector, self._bank = inspector, bank
        self._base = inspector.compare(part) if inspector.references else Comparison(bank.own_scale)
        _ = bank.scale  # now, and not in each of many processes

    def inspect_batch(self, images: list[np.ndarray], object: str) -> list[Inspection | NotJudged]:
        """See `Inspector.inspect_batch`."""
        found = []
        for one in self._inspector.observe(images, object):
            assert one.description is not None  # in company every observation has one
            mutual = {one.description.content: self._bank.scored(one.description)}
            beside = replace(self._base, mutual=mutual, mutual_scale=self._bank.scale)
            found.append(self._inspector.conclude(one, beside))
        return found


def said_to(inspector: Inspector, size: int, seed: int) -> Inspector:
    """The inspector, with the bank named in its settings: their hash is not that of a run compared with itself."""
    other = copy(inspector)
    company = str(inspector.settings.company).replace(
        "the other pictures of the run", f"a bank of {size} pictures of the archive, seed {seed}"
    )
    other.settings = replace(inspector.settings, company=company)
    other.why_unjudged = inspector.why_unjudged.replace(str(inspector.settings.company), company)
    return other


def draw(place: Place, manifest: Manifest, size: int, seed: int) -> list[Entry]:
    """`size` entries spread evenly over the archive's time, one of each stretch by a hash of seed and id.

    The order of the list does not matter; images without a time come first.
    """
    chapters = [read_columns(place, chapter, ["id", "taken"]) for chapter in range(len(manifest.chapters))]
    ids = np.concatenate(
        [np.array([one[:16] for one in table["id"].to_pylist()], "S16") for table in chapters]
    )
    taken = np.concatenate(
        [table["taken"].cast("int64").fill_null(-(2**62)).to_numpy() for table in chapters]
    )
    order = np.lexsort((ids, taken))
    drawn = [
        min(stretch, key=lambda i: hashlib.sha256(b"%d " % seed + bytes(ids[i])).digest())
        for stretch in np.array_split(order, min(size, len(order)))
    ]
    return list(_entries(place, manifest, sorted(map(int, drawn))))


def make(entries: Iterable[Entry], inspector: Inspector, part: str) -> Bank:
    """The bank of these entries; those that cannot be read or judged are no part of it.

    Raises `SteerAnomalyError` for fewer than 8 images of different content.
    """
    own, patches = {}, {}
    for entry in entries:
        try:
            (one,) = inspector.observe([read_picture(entry).image], part)
        except SteerAnomalyError:
            continue
        assert one.description is not None  # in company every observation has one
        flat = one.description.rows().astype(np.float16)
        if np.isfinite(one.own).all() and np.isfinite(flat).all():
            own[one.description.content], patches[one.description.content] = sampled(one.own), flat
    contents = tuple(sorted(patches))
    if len(contents) < FEWEST:
        raise SteerAnomalyError(
            f"expected at least {FEWEST} different images that can be read to compare with, got {len(contents)}: "
            "switch --mutual off, or look at the images"
        )
    return Bank(
        contents, tuple(patches[one] for one in contents), robust_scale([own[one] for one in contents])
    )


def save(place: Place, bank: Bank) -> None:
    """Keep a bank. Raises `OSError`."""
    buffer = io.BytesIO()
    lengths = [len(one) for one in bank.patches]
    scale = [bank.own_scale.centre, bank.own_scale.width]
    meta = json.dumps({"contents": bank.contents, "lengths": lengths, "scale": scale})
    np.savez(buffer, patches=np.concatenate(bank.patches), meta=np.array(meta))
    place.write(FILE, buffer.getvalue())


def load(place: Place) -> Bank | None:
    """The bank that `save` kept; None where there is none. Raises `OSError`."""
    try:
        data = place.read(FILE)
    except FileNotFoundError:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        meta, patches = json.loads(str(found["meta"])), found["patches"]
    each = np.split(patches, np.cumsum(meta["lengths"])[:-1])
    return Bank(tuple(meta["contents"]), tuple(each), RobustScale(*meta["scale"]))


def _entries(place: Place, manifest: Manifest, rows: Sequence[int]) -> Iterable[Entry]:
    begins = np.cumsum([0, *manifest.chapters])
    for row in rows:
        chapter = int(np.searchsorted(begins, row, "right")) - 1
        inside = row - int(begins[chapter])
        yield read_shard(place, Shard(chapter, 0, inside, inside + 1))[0]
