"""How unlike a few good pictures of the part each patch is: a bank of their patches, or the space they span.

Knows no files and no model: it is given descriptions. Letters: K references, h x w patches of one image, N patches in
all, M of them kept, C channels. Sources: PatchCore (Roth et al. 2022, section 3), SubspaceAD for the PCA residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evidence.border_scale import BorderedScale, bordered_scale
from anomaly.evidence.descriptions import Description

BANK = 16384  # patches that are kept: ten pictures of 40 x 40 whole, larger sets by a coreset
POOL = 4  # times BANK: as many patches are drawn before the coreset is chosen among them
PROJECTED = 32  # channels in which the coreset is chosen; distances hardly change (Johnson-Lindenstrauss)
EXPLAINED = 0.95  # share of the variance of the references' patches that their subspace keeps
CHUNK = 1024  # patches compared at a time


class Way(Protocol):
    """A way of telling how far patches lie from the references."""

    def distances(self, patches: np.ndarray, without: int | None = None) -> np.ndarray:
        """Patches (..., C) -> distances (...), float32, 0 and more; reference `without` does not count."""


class MemoryBank:
    """Distance to the nearest patch of the references, of which at most `limit` are kept (greedy k-centre)."""

    def __init__(self, references: Sequence[Description], limit: int = BANK) -> None:
        rows = [one.rows() for one in references]
        patches, owners = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(one) for one in rows])
        if len(patches) > limit:
            kept = coreset(patches, limit, seed=_seed(references))
            patches, owners = patches[kept], owners[kept]
        self._keep(patches, owners)

    @classmethod
    def of_arrays(cls, patches: np.ndarray, owners: np.ndarray) -> MemoryBank:
        """A bank of exactly these patches (M, C) float32, each of the reference with the number in `owners` (M,)."""
        bank = cls.__new__(cls)
        bank._keep(patches, owners)
        return bank

    def _keep(self, patches: np.ndarray, owners: np.ndarray) -> None:
        # Copies: sums round differently with where an array lies in memory, and a file's lies anywhere.
        self._bank, self._owners = np.array(patches, np.float32, order="C"), owners.astype(np.int64)
        self._squares = np.square(self._bank).sum(1)

    def __len__(self) -> int:
        return len(self._bank)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What `of_arrays` takes, by the names of its parameters."""
        return {"patches": self._bank, "owners": self._owners}

    def distances(self, patches: np.ndarray, without: int | None = None) -> np.ndarray:
        """See `Way`."""
        bank, squares = self._bank, self._squares
        if without is not None:
            others = self._owners != without
            bank, squares = bank[others], squares[others]
        flat = np.ascontiguousarray(patches.reshape(-1, patches.shape[-1]))
        pieces = [flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK)]
        nearest = [_nearest(rows, bank, squares) for rows in pieces]
        return np.concatenate(nearest).reshape(patches.shape[:-1])


class Subspace:
    """Distance to the subspace that the references' patches span: what their principal components leave over.

    Needs no bank: memory and time do not grow with the number of references.
    """

    def __init__(self, references: Sequence[Description], explained: float = EXPLAINED) -> None:
        self._explained = explained
        self._moments = [_moments(one.rows()) for one in references]
        self._total = tuple(np.sum([one[part] for one in self._moments], 0) for part in range(3))
        self._all = self._fitted(self._total)

    def distances(self, patches: np.ndarray, without: int | None = None) -> np.ndarray:
        """See `Way`."""
        mean, components = self._all
        if without is not None:
            rest = [total - own for total, own in zip(self._total, self._moments[without], strict=True)]
            mean, components = self._fitted(rest)
        centred = patches.astype(np.float64) - mean
        left = np.square(centred).sum(-1) - np.square(centred @ components).sum(-1)
        return np.sqrt(np.maximum(left, 0)).astype(np.float32)

    def _fitted(self, moments: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mean (C,) and principal components (C, kept) of patches, from their count, sum and products."""
        count, total, products = moments
        mean = total / count
        values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        share = np.cumsum(values) / max(values.sum(), 1e-12)
        kept = int(np.searchsorted(share, self._explained)) + 1
        return mean, vectors[:, :kept]


class References:
    """One to a few hundred good pictures, and how odd a picture's patches are beside them.

    `oddness` is in robust z-scores of the references' own distances to each other (leave-one-out), so that the same
    number means the same oddness for any part; along the border by those there, see `border_scale`. With one reference
    its left and right half are compared with each other instead, which overstates how far good patches lie apart where
    the halves differ: scores are then lower.
    A picture that is a reference itself (by content) is never compared with its own copy. The order of the
    references does not matter. Raises `SteerAnomalyError` without references or for unequal channels.
    """

    def __init__(
        self, references: Sequence[Description], way: type[MemoryBank] | type[Subspace] = MemoryBank
    ) -> None:
        unlike = {one.content: one for one in references}  # copies say nothing new
        references = [unlike[content] for content in sorted(unlike)]  # whatever the order of the files
        if not references or len({one.channels for one in references}) > 1:
            raise SteerAnomalyError(
                f"expected references described by the same model, at least one, got {len(references)} with "
                f"{sorted({one.channels for one in references})} channels"
            )
        self.contents = {one.content: number for number, one in enumerate(references)}
        self._way: Way = way(references)
        self.left_out = _left_out(references, self._way, way)
        self.scale = bordered_scale(self.left_out)

    @classmethod
    def of_arrays(cls, contents: Sequence[str], arrays: Mapping[str, np.ndarray]) -> References:
        """The inverse of `to_arrays`; `contents` are the hashes of the references' pixels, in increasing order.

        Raises `SteerAnomalyError` for arrays that do not belong together.
        """
        grids = arrays["grids"]
        counts = grids.prod(1, dtype=np.int64)
        owners, patches, flat = arrays["owners"], arrays["patches"], arrays["left_out"]
        if (
            len(grids) != len(contents)
            or len(flat) != counts.sum()
            or len(owners) != len(patches)
            or patches.ndim != 2
            or not 0 <= owners.min(initial=0) <= owners.max(initial=0) < len(contents)
        ):
            raise SteerAnomalyError(
                f"expected the patches of {len(contents)} references and a map of distances for each, got arrays "
                "that do not fit together; calibrate again"
            )
        again = cls.__new__(cls)
        again.contents = {content: number for number, content in enumerate(contents)}
        again._way = MemoryBank.of_arrays(patches, owners)
        maps = np.split(flat, np.cumsum(counts)[:-1])
        again.left_out = [one.reshape(grid) for one, grid in zip(maps, grids, strict=True)]
        again.scale = BorderedScale.of_array(arrays["scale"])
        return again

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything but the hashes of the pixels, by name: a bank's patches, distances among the references, scale."""
        if not isinstance(self._way, MemoryBank):
            raise SteerAnomalyError("expected references kept as a bank of patches, got a subspace")
        return self._way.to_arrays() | {
            "left_out": np.concatenate([one.ravel() for one in self.left_out]),
            "grids": np.array([one.shape for one in self.left_out], np.int32),
            "scale": self.scale.to_array(),
        }

    def __len__(self) -> int:
        return len(self.contents)

    def distance(self, oddness: np.ndarray) -> float:
        """How far a picture's patches lie from the references, the median, in the distance's own unit.

        `oddness` is that of the picture. A defect moves it little, another part moves it far.
        """
        return float(np.median(oddness)) * self.scale.width + self.scale.centre

    def oddness(self, picture: Description) -> np.ndarray:
        """How unlike the references each patch is, (h, w) float32, robust z-scores.

        All 0 for the only reference itself, which nothing can be compared with.
        """
        own = self.contents.get(picture.content)
        if own is not None:
            return self.scale(self.left_out[own]) if len(self) > 1 else np.zeros(picture.grid, np.float32)
        return self.scale(self._way.distances(picture.patches))


def coreset(patches: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Greedy k-centre: numbers of `limit` of the patches (N, C), such that every other lies near one of them.

    Distances are those of a random projection; of very many patches a random part is looked at. Sorted (limit,).
    """
    from sklearn.random_projection import GaussianRandomProjection  # a second of start-up that few need

    rng = np.random.default_rng(seed)
    pool = np.sort(rng.permutation(len(patches))[: POOL * limit])
    points = patches[pool]
    if points.shape[1] > PROJECTED:
        points = GaussianRandomProjection(PROJECTED, random_state=seed).fit_transform(points)
    rest = np.ascontiguousarray(points, np.float32)
    squares, nearest = np.square(rest).sum(1), np.full(len(rest), np.inf, np.float32)
    farthest = int(np.square(rest - rest.mean(0)).sum(1).argmax())
    chosen = np.empty(limit, np.int64)
    for number in range(limit):
        chosen[number] = farthest
        reached = squares + squares[farthest] - 2 * (rest @ rest[farthest])
        np.minimum(nearest, reached, out=nearest)
        nearest[farthest] = -1  # not again, also where all that is left are copies
        farthest = int(nearest.argmax())
    return np.sort(pool[chosen])


def _left_out(
    references: Sequence[Description], way: Way, kind: type[MemoryBank] | type[Subspace]
) -> list[np.ndarray]:
    """Of each reference the distances (h, w) of its patches to all others."""
    if len(references) > 1:
        return [way.distances(one.patches, without=number) for number, one in enumerate(references)]
    only = references[0].patches
    middle = max(1, only.shape[1] // 2)
    halves = [Description(half, "") for half in (only[:, :middle], only[:, middle:]) if half.size]
    if len(halves) < 2:
        return [np.zeros(only.shape[:2], np.float32)]
    first, second = (kind([other]).distances(half.patches) for half, other in (halves, halves[::-1]))
    return [np.concatenate([first, second], 1)]


def _nearest(rows: np.ndarray, bank: np.ndarray, squares: np.ndarray) -> np.ndarray:
    products = rows @ bank.T
    products *= -2
    products += squares
    return np.sqrt(np.maximum(products.min(1) + np.square(rows).sum(1), 0))


def _moments(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = flat.astype(np.float64)
    return np.asarray(float(len(flat))), flat.sum(0), flat.T @ flat


def _seed(references: Sequence[Description]) -> int:
    """From the contents, so that the same references give the same bank."""
    return int.from_bytes(bytes.fromhex(min(one.content for one in references)[:8]), "big")
