"""A picture in company: its own map and its distance to other pictures, brought to one scale and added.

Every part of the sum is in robust z-scores of what is ordinary here (the run's good majority, or the references), so
the same number means the same oddness for any part, along the border by what is ordinary there; what is more ordinary
than usual speaks against nothing, and what is far odder than usual speaks by its root (`softened`).
Letters: h x w patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.border_scale import BorderedScale, bordered_scale
from anomaly.evidence.descriptions import Description, content_hash
from anomaly.evidence.mutual_scale import RobustScale, robust_scale
from anomaly.evidence.references import References
from anomaly.heatmaps import resize
from anomaly.observation import Observation
from anomaly.pictures.images import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

    from anomaly.evidence.mutual import Company, FeatureStore, Mutual, MutualSettings

FEWEST = 8  # pictures from which mutual scoring is on by itself
SAMPLED = 4096  # values of each picture's own map that set the scale
SOFT = 2.0  # z-scores of distances to others above it count by their root
OTHERS = "the other pictures of the run"  # what a picture is compared with, in words
TEXT, COMPANY, REFERENCES = "text", "company", "references"  # parts of a score


@dataclass(frozen=True)
class Compared:
    """What the others say of one picture: maps (h, w) of z-scores by part, and what it was compared with.

    `partners`: how many other pictures of the run; `closest`: the key (content hash) of the most similar one.
    """

    parts: dict[str, np.ndarray] = field(default_factory=dict)
    partners: int = 0
    closest: str | None = None
    distance: float | None = None  # from the references, see `References.distance`
    unlike: float | None = None  # the references, median z-score of the patches


class Known(Protocol):
    """Good pictures to be compared with, as `References` are."""

    def oddness(self, picture: Description) -> np.ndarray:
        """How unlike them each patch is, (h, w) float32, robust z-scores."""

    def distance(self, oddness: np.ndarray) -> float:
        """How far from them the picture of this oddness lies."""


@dataclass(frozen=True)
class Comparison:
    """The scale of own maps, and for each picture of a run, by content, what the others say of it."""

    own_scale: RobustScale | BorderedScale
    references: Known | None = None
    mutual: Mapping[str, Mutual] = field(default_factory=dict)
    mutual_scale: RobustScale | BorderedScale | None = None
    company: Company | None = None

    def likest(self, description: Description, at: tuple[float, float]) -> int | None:
        """The patch, row by row, of the most similar picture that is most like the one `at` (y, x, shares 0..1) here.

        None where pictures were not compared with each other.
        """
        found = self.mutual.get(description.content)
        if self.company is None or found is None:
            return None
        rows, columns = description.grid
        y, x = min(int(at[0] * rows), rows - 1), min(int(at[1] * columns), columns - 1)
        places, _ = self.company.nearest(description.content, [y * columns + x], found.closest)
        return int(places[0])

    def of(self, description: Description) -> Compared:
        """What the others say of one picture."""
        parts: dict[str, np.ndarray] = {}
        found = self.mutual.get(description.content)
        if found is not None and self.mutual_scale is not None:
            parts[COMPANY] = self.mutual_scale(found.scores.reshape(description.grid))
        distance = unlike = None
        if self.references is not None:
            parts[REFERENCES] = self.references.oddness(description)
            distance, unlike = (
                self.references.distance(parts[REFERENCES]),
                float(np.median(parts[REFERENCES])),
            )
        partners, closest = (found.partners, found.closest) if found else (0, None)
        return Compared(parts, partners, closest, distance, unlike)

    def total(
        self, own: np.ndarray, compared: Compared, within: Mapping[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The sum of all parts at the size of `own` (a map of logits), and each part, 0 and more.

        `within` are the parts of `own`, by name and in logits, that other evidence than the text gave.
        """
        mine = np.maximum(self.own_scale(own), 0)
        others = {name: softened(one) for name, one in compared.parts.items()}
        total = np.stack([resize(one, own.shape) for one in (mine, *others.values())]).sum(
            0, dtype=np.float32
        )
        return total, self._shared_out(mine, own, within or {}) | others

    def _shared_out(
        self, mine: np.ndarray, own: np.ndarray, within: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """`mine`, what the picture alone says, shared out among what spoke for it, in proportion; the sum is `mine`."""
        spoke = {name: resize(one, own.shape) / self.own_scale.width for name, one in within.items()}
        spoke = {TEXT: self.own_scale(own) - sum(spoke.values())} | spoke
        spoke = {name: np.maximum(one, 0) for name, one in spoke.items()}
        whole = np.maximum(np.sum(list(spoke.values()), 0), 1e-12)
        return {name: (mine * one / whole).astype(np.float32) for name, one in spoke.items()}


@dataclass(frozen=True)
class ReferenceSet:
    """Good pictures to compare with, RGB uint8, each content once, in an order that files do not decide."""

    images: tuple[np.ndarray, ...] = ()
    contents: tuple[str, ...] = ()
    described: DescribedReferences | None = None  # pictures that were described before need not be there
    names: tuple[str, ...] = ()  # for people, of each; none for those that were described before

    @classmethod
    def of(
        cls, pictures: Sequence[np.ndarray | Image | str | Path], names: Sequence[str] = ()
    ) -> ReferenceSet:
        """Read the pictures; raises `ImageError` for one that cannot be read. `names` are for people, by default
        the paths."""
        names = names or [
            str(one) if isinstance(one, str | Path) else f"reference {number + 1}"
            for number, one in enumerate(pictures)
        ]
        read = [(as_rgb(picture), name) for picture, name in zip(pictures, names, strict=True)]
        images = {content_hash(image): (image, name) for image, name in reversed(read)}  # the first of copies
        contents = tuple(sorted(images))
        kept = [images[content] for content in contents]
        return cls(tuple(image for image, _ in kept), contents, names=tuple(name for _, name in kept))

    @classmethod
    def of_described(cls, described: DescribedReferences) -> ReferenceSet:
        """Pictures that were described before, such as those of a profile."""
        return cls((), tuple(described.bank.contents), described)

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def hash(self) -> str:
        """SHA-256 in hex of the pictures' contents."""
        return hashlib.sha256("".join(self.contents).encode()).hexdigest()


@dataclass(frozen=True)
class DescribedReferences:
    """References as the model sees them: a bank of their patches, and values of their own maps (logits)."""

    bank: References
    own: list[np.ndarray]

    @classmethod
    def of(cls, observed: Sequence[Observation]) -> DescribedReferences:
        """From what was observed of each."""
        described = [one.description for one in observed if one.description is not None]
        return cls(References(described), [sampled(one.own) for one in observed])

    @classmethod
    def of_arrays(cls, contents: Sequence[str], arrays: Mapping[str, np.ndarray]) -> DescribedReferences:
        """The inverse of `to_arrays`; see `References.of_arrays`. Raises `SteerAnomalyError` for a missing array."""
        try:
            return cls(References.of_arrays(contents, arrays), list(arrays["own"]))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, SteerAnomalyError):
                raise
            raise SteerAnomalyError(f"expected the arrays of references, got none such as {error}") from error

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For a profile: arrays by name, everything but the hashes of the pixels."""
        return self.bank.to_arrays() | {"own": np.stack(self.own)}


def compare(
    own: Sequence[np.ndarray],
    store: FeatureStore | None,
    keys: Sequence[str],
    references: Known | None = None,
    finished: Path | None = None,
    settings: MutualSettings | None = None,
    grids: Sequence[tuple[int, int]] | None = None,
) -> Comparison:
    """The comparison of a run.

    `own` are values (h, w) (see `sampled`) of the maps of what is ordinary: of the references where there are some,
    else of all pictures. `store` holds the descriptions of the pictures `keys`, None when they are not compared with
    each other; `finished` is a folder in which comparisons are kept for going on. `grids` are rows and columns of
    patches of each of `keys`; without them distances have one scale, at the border too. Raises `SteerAnomalyError` for
    fewer than two pictures of different content.
    """
    if store is None and references is not None:
        return Comparison(bordered_scale(own), references)
    finite = [one for one in own if np.isfinite(one).all()]  # others will not be judged, and spoil no scale
    scale = bordered_scale(finite)
    if store is None:
        return Comparison(scale, references)
    from anomaly.evidence.mutual import Company, MutualSettings

    company = Company(store, keys, settings or MutualSettings())
    mutual = company.scores(finished)
    return Comparison(scale, references, mutual, _usual(mutual, keys, grids), company)


def softened(oddness: np.ndarray) -> np.ndarray:
    """Z-scores of distances to others as they count in the sum: 0 below 0, their root above 2, smoothly.

    So a good picture that is unlike the others everywhere, taken in other light, does not stand above every defect.
    """
    above = np.maximum(oddness - SOFT, 0)
    return np.where(above > 0, SOFT - 0.5 + np.sqrt(above + 0.25), np.maximum(oddness, 0))


def _usual(
    mutual: Mapping[str, Mutual], keys: Sequence[str], grids: Sequence[tuple[int, int]] | None
) -> RobustScale | BorderedScale:
    if grids is None:
        return robust_scale([one.scores for one in mutual.values()])
    known = dict(zip(keys, grids, strict=True))
    return bordered_scale([one.scores.reshape(known[key]) for key, one in mutual.items()])


def sampled(own: np.ndarray) -> np.ndarray:
    """Values of a map, about 4,096 of them, evenly spread: enough to set a scale."""
    step = max(1, int((own.size / SAMPLED) ** 0.5))
    return own[::step, ::step]


def add_to(store: FeatureStore, observation: Observation) -> None:
    """Keep the description of a picture for comparing, once. Raises as `FeatureStore.add`."""
    assert observation.description is not None  # in company every observation has one
    if observation.description.content not in store:
        patches = observation.description.patches
        store.add(observation.description.content, [patches.reshape(-1, patches.shape[-1])])


def in_company(activation: str | None) -> str:
    """The activation of maps that are brought to one scale with others. Raises `SteerAnomalyError` for others."""
    if activation not in (None, "logit"):
        raise SteerAnomalyError(
            f"expected the activation logit where pictures are compared, got {activation}: their maps are z-scores"
        )
    return "logit"
