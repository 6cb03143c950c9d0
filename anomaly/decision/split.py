"""Which good pictures become references and which calibrate, and which of them show the same part or stand apart.

But for their thumbnails it sees content hashes and feature vectors, never names or the order of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError

THUMBNAIL = 32  # px
SAME_PART = (
    0.2  # of the median distance: thumbnails of one part taken twice lie below 0.15, of two above 0.45
)
NEIGHBOURS = 3  # so that two odd pictures that are alike do not vouch for each other
ODD = 6.0  # robust standard deviations
TWO_KINDS = 0.5  # mean silhouette from which two clusters are "reasonable" (Kaufman & Rousseeuw 1990)


@dataclass(frozen=True)
class Split:
    """Places, in the list given, of the pictures for each use; each place once, in increasing order."""

    references: tuple[int, ...]
    calibration: tuple[int, ...]


@dataclass(frozen=True)
class Outlier:
    """A picture unlike all others: its place in the list given, and its distance to others in usual distances."""

    index: int
    times: float


def split(hashes: Sequence[str], references: int, seed: int = 0, parts: Sequence[int] | None = None) -> Split:
    """Pictures of `references` parts drawn by a seeded rule on their content, the rest for calibration.

    `hashes` are the pictures' SHA-256; `parts` as of `same_parts`. Pictures of one part, and files of one content,
    stay together. Raises `SteerAnomalyError` when no part is left for calibration.
    """
    drawn = _drawn(hashes, seed, parts)
    if not 0 <= references < len(drawn):
        raise SteerAnomalyError(
            f"expected fewer references than the {len(drawn)} good parts, got {references}: at least one part has to "
            "be left for calibration; ask for fewer references, or for cross-fitting, which uses every part for both"
        )
    chosen = sorted(place for part in drawn[:references] for place in part)
    rest = sorted(place for part in drawn[references:] for place in part)
    return Split(tuple(chosen), tuple(rest))


def folds(
    hashes: Sequence[str], count: int, seed: int = 0, parts: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The fold (0..count - 1) of each picture, of nearly equal numbers of parts; as many folds as parts leave one out.

    Raises `SteerAnomalyError` for fewer than two folds, or more than parts.
    """
    drawn = _drawn(hashes, seed, parts)
    if not 2 <= count <= len(drawn):
        raise SteerAnomalyError(
            f"expected 2 to {len(drawn)} folds for {len(drawn)} good parts, got {count}; cross-fitting needs two parts "
            "at least, photograph more"
        )
    found = [0] * len(hashes)
    for turn, part in enumerate(drawn):
        for place in part:
            found[place] = turn % count
    return tuple(found)


def _drawn(hashes: Sequence[str], seed: int, parts: Sequence[int] | None) -> list[list[int]]:
    """Places of each part's pictures, parts in the order of a hash of the seed and their contents."""
    members: dict[int, list[int]] = {}
    for place, part in enumerate(joined(hashes, parts)):
        members.setdefault(part, []).append(place)
    keys = [hashlib.sha256(f"{seed} {content}".encode()).hexdigest() for content in hashes]
    return sorted(members.values(), key=lambda places: min(keys[place] for place in places))


def joined(hashes: Sequence[str], parts: Sequence[int] | None = None) -> tuple[int, ...]:
    """A part's number for each picture, from 0 by first appearance; pictures of one content are of one part."""
    if parts is not None and len(parts) != len(hashes):
        raise SteerAnomalyError(f"expected a part for each of {len(hashes)} pictures, got {len(parts)} parts")
    group = list(range(len(hashes))) if parts is None else list(parts)
    first: dict[str, int] = {}
    for place, content in enumerate(hashes):
        same = first.setdefault(content, group[place])
        if same != group[place]:
            other = group[place]
            group = [same if number == other else number for number in group]
            first = {known: same if number == other else number for known, number in first.items()}
    numbers = {part: number for number, part in enumerate(dict.fromkeys(group))}
    return tuple(numbers[part] for part in group)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """The features by which `same_parts` tells best: (3072,) float64 of a picture, RGB uint8 H x W x 3.

    32 x 32 px, less their mean and over their standard deviation, so that exposure does not matter. A part that was
    moved or turned between two pictures is not found by it.
    """
    sigma = max(image.shape[:2]) / THUMBNAIL / 2
    small = cv2.resize(
        cv2.GaussianBlur(image, (0, 0), sigma), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    ).astype(np.float64)
    return ((small - small.mean()) / max(float(small.std()), 1.0)).ravel()


def same_parts(features: np.ndarray, nearness: float = SAME_PART) -> tuple[int, ...]:
    """A part's number for each picture: pictures of one part are all nearer than `nearness` times the usual distance.

    `features` (N, D), one vector a picture, such as its `thumbnail`; the usual distance is the median over all
    pairs. Groups are by complete linkage, so that a chain of similar parts does not become one. Two pictures are too
    few to tell: two parts.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # a third of a second, and not every run needs it
    from scipy.spatial.distance import pdist

    features = _vectors(features)
    if len(features) < 3:
        return tuple(range(len(features)))
    distances = pdist(features)
    labels = fcluster(
        linkage(distances, "complete"), nearness * float(np.median(distances)), criterion="distance"
    )
    return joined([str(place) for place in range(len(labels))], [int(label) for label in labels])


def unlike_others(features: np.ndarray, parts: Sequence[int] | None = None) -> list[Outlier]:
    """Pictures far from every other part's, oddest first: "look at these: defects among the good?"

    `features` (N, D). A picture's distance is the mean to its three nearest pictures of other parts; odd is one more
    than six robust standard deviations above the median. With fewer than five parts none can be told.
    """
    from scipy.spatial.distance import pdist, squareform  # a third of a second, and not every run needs it

    features = _vectors(features)
    group = np.asarray(range(len(features)) if parts is None else parts)
    if len(set(group.tolist())) < 5:
        return []
    distances = squareform(pdist(features))
    distances[group[:, None] == group[None, :]] = np.inf
    nearest = np.sort(distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)
    usual = float(np.median(nearest))
    spread = max(1.4826 * float(np.median(np.abs(nearest - usual))), 0.05 * usual)
    odd = [place for place in np.argsort(-nearest, kind="stable") if nearest[place] > usual + ODD * spread]
    return [Outlier(int(place), float(nearest[place] / usual) if usual else float("inf")) for place in odd]


def two_kinds(features: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Places of two clearly separate groups, the larger first, when the pictures seem to show two different parts.

    `features` (N, D). Each group holds a fifth of the pictures and two at least; otherwise None.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist
    from sklearn.metrics import silhouette_score  # a second that judging again does not need

    features = _vectors(features)
    if len(features) < 4:
        return None
    labels = fcluster(linkage(pdist(features), "average"), 2, criterion="maxclust")
    sizes = np.bincount(labels)[1:]
    if len(sizes) < 2 or sizes.min() < max(2, 0.2 * len(labels)):
        return None
    if silhouette_score(features, labels) < TWO_KINDS:
        return None
    groups = sorted((tuple(map(int, np.flatnonzero(labels == kind))) for kind in (1, 2)), key=len)
    return groups[1], groups[0]


def _vectors(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise SteerAnomalyError(
            f"expected finite feature vectors, one row per picture, got an array of shape {features.shape}; a picture "
            "the model cannot describe must be left out"
        )
    return features
