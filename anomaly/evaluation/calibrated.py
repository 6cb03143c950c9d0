"""Calibrated verdicts on a benchmark: what is promised for each category, and what comes of it on its test images.

The promise is about a rate, and test images are a sample: that more of them are alarms than the bound says refutes
nothing by itself. So three things are counted: whether the share measured is within the bound, as people read it;
whether it is what the promise allows among so many images; whether an exact binomial test refutes the bound.
Knows no options and no tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.decision.calibrating import Good, Wish, calibrate
from anomaly.decision.calibration import Measured, measured
from anomaly.decision.promise import Promise
from anomaly.decision.verdict import judge_of
from anomaly.errors import NotJudged
from anomaly.evaluation.category import overlap_of
from anomaly.evaluation.labelled import Overlap, TestImages, safe_name
from anomaly.evaluation.scoring import pooled_f1
from anomaly.evaluation.shots import draw
from anomaly.runs.good_pictures import good_pictures
from anomaly.runs.observations import Observations
from anomaly.runs.observing import observe_and_keep, unobserved
from anomaly.testsets.samples import read_mask

REFUTED = 0.05  # p-value below which so many false alarms speak against the bound


@dataclass(frozen=True)
class CalibratedFigures:
    """Of one category, calibrated on pictures drawn by one seed.

    `alarms` counts good test images called defective, `found` defective ones (None where there are none), `seg_f1` is
    the pixel F1 of the masks (None without true masks). `left_out` are images that could not be judged.
    """

    category: str
    seed: int
    promise: Promise
    references: int
    alarms: Measured
    found: Measured | None
    seg_f1: float | None
    left_out: tuple[str, ...]

    @property
    def within(self) -> bool:
        """Whether the share of false alarms that was measured is at most the bound."""
        return self.alarms.rate <= (self.promise.bound or 1.0)

    @property
    def within_expected(self) -> float:
        """How often `within` is to be expected where the promise is exactly true, 0..1: few images scatter."""
        most = int(np.floor((self.promise.bound or 1.0) * self.alarms.total + 1e-9))
        return self.promise.chance_of_at_most(most, self.alarms.total)

    @property
    def allowed(self) -> int:
        """How many false alarms among so many good images are within the promise, with its confidence."""
        return self.promise.most_alarms(self.alarms.total)

    @property
    def p_value(self) -> float:
        """The chance of as many false alarms or more if the rate were the bound: exact binomial test, one-sided."""
        from scipy.stats import binomtest

        bound = min(self.promise.bound or 1.0, 1.0)
        return float(binomtest(self.alarms.count, self.alarms.total, bound, alternative="greater").pvalue)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values, rates within 0..1."""
        found = self.found
        return {
            "category": self.category, "seed": self.seed, "parts": self.promise.n, "references": self.references,
            "scoring": self.promise.scoring.kind, "confidence": self.promise.confidence,
            "target": self.promise.target, "bound": self.promise.bound,
            "good": self.alarms.total, "false_alarms": self.alarms.count,
            "false_alarms_interval": [self.alarms.low, self.alarms.high], "allowed": self.allowed,
            "within": self.within, "within_expected": self.within_expected, "p_value": self.p_value,
            "defective": found and found.total, "found": found and found.count,
            "found_interval": found and [found.low, found.high], "seg_f1": self.seg_f1,
            "left_out": list(self.left_out),
        }  # fmt: skip


@dataclass(frozen=True)
class Held:
    """How often the promise held over categories and seeds; `runs` of them, the others are counts but `expected`.

    `expected` is how many `within` are to be expected of promises that are exactly true.
    """

    runs: int
    within: int
    expected: float
    allowed: int
    not_refuted: int

    @classmethod
    def of(cls, figures: Sequence[CalibratedFigures]) -> Held:
        """Counted over `figures`."""
        return cls(
            len(figures),
            sum(one.within for one in figures),
            sum(one.within_expected for one in figures),
            sum(one.alarms.count <= one.allowed for one in figures),
            sum(one.p_value >= REFUTED for one in figures),
        )


def evaluate_calibrated(
    categories: Sequence[TestImages],
    inspector: Any,
    wish: Wish,
    count: int,
    seeds: Sequence[int],
    out: Path,
    tick: Callable[[str, int], object] = lambda name, done: None,
) -> Iterator[CalibratedFigures]:
    """Each category calibrated on `count` good images, drawn anew by every seed, and its test images judged so.

    `inspector` compares pictures, or not where `wish.references` is 0. What is seen of test images is kept below `out`
    and seen once. The gate is off: every image is judged. `tick` is told of images just done with. Raises
    `SteerAnomalyError` for too few good images, or as `calibrate` does.
    """
    for images in categories:
        folder = out / "observations" / inspector.settings.hash[:16] / safe_name(images.name)
        kept = Observations(folder, inspector.description_hash)
        failed = dict(_observed(images, inspector, kept, out, tick))
        goods: dict[Path, Good] = {}
        for seed in seeds:
            yield _calibrated(images, inspector, replace(wish, seed=seed), count, kept, failed, goods)


def _observed(
    images: TestImages, inspector: Any, kept: Observations, out: Path, tick: Callable[[str, int], object]
) -> Iterator[tuple[str, str]]:
    """Has every test image observed that is not yet; yields the keys of those that cannot be, and why."""
    files = {sample.key: sample.image for sample in images.samples}
    pending = unobserved(kept, files)
    tick(images.name, len(files) - len(pending))
    for path, failure in observe_and_keep(kept, pending, inspector, images.object, out, 1):
        tick(images.name, 1)
        if failure is not None:
            yield pending[path], f"{path}: {failure.reason}"


def _calibrated(
    images: TestImages,
    inspector: Any,
    wish: Wish,
    count: int,
    kept: Observations,
    failed: Mapping[str, str],
    goods: dict[Path, Good],
) -> CalibratedFigures:
    drawn = draw(images, count, wish.seed)
    new = [path for path in drawn.references if path not in goods]
    seen, _ = good_pictures(new, inspector, images.object)
    goods |= {Path(one.name): one for one in seen}
    found = calibrate([goods[path] for path in drawn.references if path in goods], inspector, wish)
    judging, profile = found.inspector, found.profile
    judging.judge = judge_of(profile, gate=False)
    comparison = judging.compare(images.object) if len(judging.references) else None
    verdicts: dict[bool, list[bool]] = {True: [], False: []}
    overlaps: list[Overlap | None] = []
    left_out = list(failed.values())
    for sample in drawn.samples:
        if sample.key in failed or sample.defective is None:
            continue
        inspection = judging.conclude(kept.load(sample.key), comparison)
        if isinstance(inspection, NotJudged):
            left_out.append(f"{sample.image}: {inspection}")
            continue
        verdicts[sample.defective].append(bool(inspection.is_anomalous))
        overlaps.append(overlap_of(inspection, read_mask(sample, inspection.heatmap.shape)))
    good, bad = verdicts[False], verdicts[True]
    return CalibratedFigures(
        images.name,
        wish.seed,
        profile.promise,
        len(profile.provenance.references),
        measured(sum(good), len(good)),
        measured(sum(bad), len(bad)) if bad else None,
        pooled_f1(overlaps),
        tuple(left_out),
    )
