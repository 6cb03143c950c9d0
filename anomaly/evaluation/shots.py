"""Few-shot evaluation: K good pictures of each category are drawn by a seed, and figures are averaged over seeds.

Pictures are drawn by what is in them, so neither names nor the order of files matter. Runs no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.labelled import TestImages
from anomaly.evaluation.summary import Summary, value
from steervit.files import sha256_of


def draw(images: TestImages, count: int, seed: int) -> TestImages:
    """The category with `count` good pictures of different content as its references.

    They come from `pool` (train/good), or where there is none from the good test images, which are then no test
    images any more, nor are their copies. Raises `SteerAnomalyError` when there are too few.
    """
    if images.pool:
        return replace(
            images, references=_drawn(images.pool, count, seed, images.name, "outside the test set")
        )
    good = [sample.image for sample in images.samples if sample.defective is False]
    chosen = _drawn(good, count, seed, images.name, "in the test set, where one has to stay", 1)
    contents = {sha256_of(path) for path in chosen}
    left = [s for s in images.samples if s.defective is not False or sha256_of(s.image) not in contents]
    said = f"{images.name}: {len(images.samples) - len(left)} good test images serve as references and are left out."
    note = f"{images.note} {said}" if images.note else said
    return replace(images, references=chosen, samples=left, note=note)


def with_all_good(images: TestImages) -> TestImages:
    """The category with all its good training pictures as references. Raises `SteerAnomalyError` for none."""
    if not images.pool:
        raise SteerAnomalyError(
            f"{images.name}: expected good pictures outside the test set (train/good), found none. Draw some of the "
            "test set's own by --shots K, or leave this category out"
        )
    return replace(images, references=images.pool)


def _drawn(
    pool: Sequence[Path], count: int, seed: int, name: str, where: str, staying: int = 0
) -> tuple[Path, ...]:
    by_content = {sha256_of(path): path for path in sorted(pool, reverse=True)}
    if len(by_content) < count + staying:
        raise SteerAnomalyError(
            f"{name}: expected at least {count + staying} different good images, found {len(by_content)} {where}. "
            "Ask for fewer shots, leave this category out, or add images to its train/good"
        )
    ranked = sorted(by_content, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).hexdigest())
    return tuple(by_content[digest] for digest in ranked[:count])


@dataclass(frozen=True)
class OverSeeds:
    """Figures of the same evaluation with references drawn by different seeds."""

    summaries: tuple[Summary, ...]
    seeds: tuple[int, ...]

    def figure(self, metric: str, category: str | None = None) -> tuple[float, float] | None:
        """Mean and standard deviation (n - 1; 0 for one seed) over the seeds, of one category or of the mean."""
        values = [self._one(summary, metric, category) for summary in self.summaries]
        known = [one for one in values if one is not None]
        if len(known) < len(values):
            return None
        return mean(known), stdev(known) if len(known) > 1 else 0.0

    @property
    def columns(self) -> list[str]:
        """The metrics that are defined for every seed, in table order."""
        return [c for c in self.summaries[0].columns if all(c in one.columns for one in self.summaries)]

    @property
    def categories(self) -> list[str]:
        """Names, in the order of the evaluation."""
        return [result.category for result in self.summaries[0].results]

    @staticmethod
    def _one(summary: Summary, metric: str, category: str | None) -> float | None:
        if category is None:
            return summary.mean(metric)[0]
        return next(value(r, metric) for r in summary.results if r.category == category)
