"""What a metric returns: figures as fractions, why some are missing, curves, and how each was defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass(frozen=True)
class Provenance:
    """How a figure was defined, so that it is compared with the right one.

    `connectivity` of regions (8 or None), `limit` the false-positive rate integrated up to, `resolution` the
    maps' size in words, `computed` whether exact or from a histogram of so many buckets.
    """

    definition: str
    resolution: str
    computed: str
    connectivity: int | None = None
    limit: float | None = None


@dataclass(frozen=True, eq=False)
class Curves:
    """Points of the curves, highest threshold first, thinned for plotting; figures never come from these.

    All are float64 fractions of equal length but `thresholds` (float32). The first point has nothing detected
    and the threshold inf. `pro` is the mean region coverage, None where there are no regions. Rates that need
    samples which are not there are nan.
    """

    thresholds: np.ndarray
    fpr: np.ndarray
    tpr: np.ndarray
    precision: np.ndarray
    pro: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class MetricResult(Mapping[str, float | None]):
    """Figures by name, each a fraction, or None with the reason in `undefined`.

    `error_bound` says how far each can be from the exact figure at worst (0 where exact); `counts` holds how
    many images, pixels and regions were seen.
    """

    values_by_name: dict[str, float | None]
    undefined: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Provenance] = field(default_factory=dict)
    error_bound: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    curves: Curves | None = None

    def __getitem__(self, name: str) -> float | None:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def to_dict(self) -> dict[str, object]:
        """Everything but the curves, ready for JSON."""
        return {
            "values": dict(self.values_by_name),
            "undefined": dict(self.undefined),
            "provenance": {name: asdict(entry) for name, entry in self.provenance.items()},
            "error_bound": dict(self.error_bound),
            "counts": dict(self.counts),
        }
