"""Whether a bundle scores as the model it was exported from: the same pictures, maps and scores side by side.

Imports no torch: the proof is stored in the bundle and can be repeated where it will run. Letters: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from anomaly.bundle.contents import BundleError
from anomaly.errors import NotJudged
from anomaly.inspection import Inspection

FILE = "proof.npz"
FEWEST = 32  # pictures that a proof takes
LARGEST = 256  # px, the longer side of a picture of the proof
EVERY = 2  # px: of heatmaps, every second row and column is kept and compared
SAME = 1e-4  # of the map's unit, or of its largest value where that is above 1: fp32 differs by no more
PRO_LIMIT = 0.3  # false-positive rate up to which PRO is integrated


class Inspects(Protocol):
    """What a proof needs of `anomaly.inspector.Inspector`."""

    def inspect_batch(self, images: Sequence[Any], object: str) -> list[Inspection | NotJudged]:
        """One inspection per RGB uint8 H x W x 3 image, in order, or why there is none."""


@dataclass(frozen=True)
class Picture:
    """An RGB uint8 H x W x 3 image, and where its defects are (bool H x W), None where nobody has said."""

    image: np.ndarray
    mask: np.ndarray | None = None

    def small(self) -> Picture:
        """The same, its longer side at most `LARGEST` px."""
        height, width = self.image.shape[:2]
        scale = LARGEST / max(height, width)
        if scale >= 1:
            return self
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BOX))
        if self.mask is None:
            return Picture(image)
        mask = Image.fromarray(self.mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
        return Picture(image, np.asarray(mask) > 127)


@dataclass(frozen=True, eq=False)
class Scored:
    """What one model says of the pictures: heatmaps, thinned out (`EVERY`), float32, and scores float64 (n,)."""

    maps: list[np.ndarray]
    scores: np.ndarray

    @classmethod
    def by(cls, inspector: Inspects, pictures: Sequence[Picture], object: str) -> Scored:
        """Inspect every picture. Raises `NotJudged` for one that the model gives no finite map of."""
        maps, scores = [], []
        for picture in pictures:
            (found,) = inspector.inspect_batch([picture.image], object)
            if isinstance(found, NotJudged):
                raise found
            maps.append(np.ascontiguousarray(found.heatmap[::EVERY, ::EVERY]))
            scores.append(found.score)
        return cls(maps, np.asarray(scores, np.float64))


@dataclass(frozen=True)
class Parity:
    """A bundle beside its original on the same pictures.

    `map_difference` and `score_difference` are the largest, in the map's unit or as a share of the largest value where
    that is above 1. `rank_correlation` is Spearman's over a map's pixels, the mean over pictures, `worst_correlation`
    its lowest; `flips` counts verdicts that changed at `threshold`. `pro` and `pro_original` are None without masks.
    `precisions`: by graph, how many products ran in which precision.
    """

    pictures: int
    map_difference: float
    score_difference: float
    rank_correlation: float
    worst_correlation: float
    score_correlation: float
    flips: int
    threshold: float
    pro: float | None = None
    pro_original: float | None = None
    precisions: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """What was lost, 0..1: of PRO where defects are known, else of rank correlation."""
        if self.pro is not None and self.pro_original is not None:
            return max(0.0, self.pro_original - self.pro)
        return max(0.0, 1 - self.rank_correlation)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    def sentence(self) -> str:
        """The comparison in words."""
        pro = (
            ""
            if self.pro is None
            else f", PRO {100 * self.pro:.2f} (original {100 * (self.pro_original or 0):.2f})"
        )
        return (
            f"{self.pictures} pictures: maps differ by {self.map_difference:.1e} at most, scores by "
            f"{self.score_difference:.1e}; rank correlation {self.rank_correlation:.6f} (lowest "
            f"{self.worst_correlation:.6f}); {self.flips} verdicts flipped at {self.threshold:.4g}{pro}"
        )

    def failure(self, precision: str, tolerance: float) -> str | None:
        """Why this is no proof, None when it is: fp32 has to be the same, others may lose up to `tolerance`."""
        if precision == "fp32":
            if self.map_difference > SAME or self.flips:
                return f"expected maps within {SAME:g} of the original's and no flipped verdict"
            return None
        what = "PRO" if self.pro is not None else "rank correlation"
        if self.loss > tolerance:
            return f"expected a loss of {what} of {tolerance:g} at most, got {self.loss:.4f}"
        return None


def compared(expected: Scored, got: Scored, pictures: Sequence[Picture], threshold: float | None) -> Parity:
    """`got` beside `expected`; without a threshold verdicts are taken at the median of the expected scores."""
    level = float(np.median(expected.scores)) if threshold is None else threshold
    unit = max(1.0, max(float(np.abs(one).max()) for one in expected.maps))
    pairs = list(zip(expected.maps, got.maps, strict=True))
    ranks = [correlation(a, b) for a, b in pairs]
    masks = [None if one.mask is None else one.mask[::EVERY, ::EVERY] for one in pictures]
    known = any(mask is not None and mask.any() for mask in masks)
    return Parity(
        pictures=len(pictures),
        map_difference=max(float(np.abs(a - b).max()) for a, b in pairs) / unit,
        score_difference=float(np.abs(expected.scores - got.scores).max()) / unit,
        rank_correlation=float(np.mean(ranks)),
        worst_correlation=min(ranks),
        score_correlation=correlation(expected.scores, got.scores),
        flips=int(((expected.scores >= level) != (got.scores >= level)).sum()),
        threshold=level,
        pro=_pro(got.maps, masks) if known else None,
        pro_original=_pro(expected.maps, masks) if known else None,
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, ties averaged; 1 where both are constant."""
    ranks = [_ranks(one.ravel()) for one in (first, second)]
    spread = [float(one.std()) for one in ranks]
    if min(spread) == 0:
        return 1.0 if max(spread) == 0 else 0.0
    centred = [one - one.mean() for one in ranks]
    return float((centred[0] * centred[1]).mean() / (spread[0] * spread[1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _pro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray | None]) -> float | None:
    from anomaly.metrics.pixel import PixelMetrics

    metrics = PixelMetrics((PRO_LIMIT,))
    for one, mask in zip(maps, masks, strict=True):
        metrics.update(one, mask)
    return metrics.compute()["pro"]


def keep(folder: Path, pictures: Sequence[Picture], expected: Scored) -> None:
    """Store what a proof takes in the bundle."""
    arrays: dict[str, Any] = {"scores": expected.scores}
    for number, (picture, one) in enumerate(zip(pictures, expected.maps, strict=True)):
        arrays |= {f"image_{number}": picture.image, f"map_{number}": one}
        if picture.mask is not None:
            arrays[f"mask_{number}"] = picture.mask
    np.savez_compressed(folder / FILE, **arrays)


def kept(folder: Path) -> tuple[list[Picture], Scored]:
    """The inverse of `keep`. Raises `BundleError` for a bundle without a proof."""
    try:
        with np.load(folder / FILE, allow_pickle=False) as file:
            count = len(file["scores"])
            pictures = [Picture(file[f"image_{n}"], file.get(f"mask_{n}")) for n in range(count)]
            return pictures, Scored([file[f"map_{n}"] for n in range(count)], file["scores"])
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{folder}: its proof cannot be read ({error}): export again") from error
