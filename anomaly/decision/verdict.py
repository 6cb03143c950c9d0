"""From a heatmap and its score to a verdict: threshold, mask, regions, and where the score stands among good parts.

It knows neither models nor files, so a finished run can be judged again from what it kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from anomaly.decision.calibration import choices
from anomaly.decision.gate import Gate, Look
from anomaly.decision.profile import Profile
from anomaly.decision.promise import percent
from anomaly.decision.threshold import OperatingPoint
from anomaly.inspection import Inspection, Region
from anomaly.regions import NO_LEAST, Least, find_regions

ROUNDING = 1e-4  # of the good scores' spread: how far a score may move with batch size, threads and machine


@dataclass(frozen=True)
class Judge:
    """What verdicts rest on: a threshold, or a profile with its threshold, its good parts' scores and its gate.

    Without a point images stay unjudged. Regions smaller than `least` are dropped; a picture without any left is ok,
    so that a promise about false alarms stays true.
    """

    point: OperatingPoint | None = None
    profile: Profile | None = None
    gate: Gate | None = None
    least: Least = NO_LEAST

    def judged(self, inspection: Inspection) -> Inspection:
        """The inspection (its score, heatmap and look) with verdict, mask, regions, p-value and spreads."""
        unfit = self.unfit(inspection.look)
        anomalous = None if self.point is None or unfit else inspection.score >= self.point.threshold
        mask = np.zeros(inspection.heatmap.shape, bool)
        regions: tuple[Region, ...] = ()
        if anomalous:
            mask, regions = self.outlined(inspection.heatmap)
            anomalous = bool(regions)
        p_value, spreads = self.standing(inspection.score)
        return replace(
            inspection,
            is_anomalous=anomalous,
            mask=mask,
            regions=regions,
            threshold=self.point.threshold if self.point else None,
            unfit=unfit,
            p_value=p_value,
            spreads=spreads,
            mm_per_pixel=self.least.mm_per_pixel,
        )

    def unfit(self, look: Look | None) -> tuple[str, ...]:
        """Why a photograph is not fit to be judged, in sentences; empty when it is, or there is no gate."""
        if self.gate is None or look is None:
            return ()
        return tuple(reason.sentence for reason in self.gate.reasons(look))

    def standing(self, score: float) -> tuple[float | None, float | None]:
        """P-value and spreads of a score among the profile's good parts; None without a profile."""
        if self.profile is None:
            return None, None
        return self.profile.calibration.p_value(score), self.profile.calibration.spreads(score)

    def outlined(self, heatmap: np.ndarray) -> tuple[np.ndarray, tuple[Region, ...]]:
        """Mask (bool, as the heatmap) and regions of a defective picture; empty where all are too small."""
        assert self.point is not None
        # Small images may miss the score's level by interpolation: their hottest pixel is still shown.
        mask = heatmap >= min(self.point.mask_threshold, float(heatmap.max()))
        regions = find_regions(mask, heatmap)
        large = tuple(region for region in regions if self.least.keeps(region))
        if len(large) < len(regions):
            mask, regions = self.least.kept(mask), large
        return mask, regions


def judge_of(profile: Profile, gate: bool = True, least: Least | None = None) -> Judge:
    """How the profile judges; without `gate` every photograph is taken as fit. `least` in place of the profile's."""
    return Judge(
        point_of(profile), profile, profile.gate if gate else None, profile.least if least is None else least
    )


def standing_of(judge: Judge) -> str:
    """What verdicts rest on, in a sentence for users; of a threshold that is there."""
    point, profile = judge.point, judge.profile
    assert point is not None
    if profile is None or point.calibrated:
        promise = profile.promise.sentence() if profile else f"Its source: {point.source}."
        return f"{_defect_is(point, profile)}. {promise}"
    lower = [bound for threshold, bound, _ in promises_of(profile) if threshold < point.threshold]
    if not lower:
        return f"{_defect_is(point, profile)}, {point.source}; no false-alarm rate is promised."
    word = "" if profile.promise.guaranteed else "estimated to be "
    return (
        f"{_defect_is(point, profile)}, {point.source}; false alarms are {word}at most "
        f"{percent(lower[0])} with {percent(profile.promise.confidence)} confidence, had it been chosen beforehand."
    )


def _defect_is(point: OperatingPoint, profile: Profile | None) -> str:
    spreads = profile.calibration.spreads(point.threshold) if profile else None
    above = "" if spreads is None else f" ({spreads:.1f} spreads above the usual good part)"
    return f"A defect is a score from {point.threshold:.4g} on{above}"


def usual_of(profile: Profile) -> tuple[float, float]:
    """The good parts' median score and the spread that scores are shown in; 0 where most are exactly alike."""
    return float(np.median(profile.calibration.ascending)), profile.calibration.spread


def promises_of(profile: Profile, most: int = 200) -> list[tuple[float, float, float]]:
    """For a slider: thresholds from the highest down, what the rate of scores above each is bounded by (0..1), and the
    level that is outlined with it. Empty where no false-alarm rate is known.
    """
    if profile.promise.bound is None:
        return []
    found = choices(profile.calibration, profile.promise.confidence, most=most)
    return [(one.threshold, one.bound, _outlining(profile, one.rank)) for one in found]


def level_for(profile: Profile, threshold: float) -> float:
    """What to outline where a defect is a score from `threshold` on: what as many good pictures exceed anywhere."""
    above = int((profile.calibration.ascending >= threshold).sum())
    return _outlining(profile, min(above + 1, profile.calibration.n))


def point_of(profile: Profile) -> OperatingPoint:
    """The profile's threshold as an operating point; masks outline what good pictures exceed nowhere.

    Both lie above the calibration's by no more than rounding, so that a picture that set them is no alarm later.
    """
    promise, rounding = profile.promise, ROUNDING * profile.calibration.spread
    bound = "no false-alarm rate is promised"
    if promise.bound is not None:
        word = "at most" if promise.guaranteed else "estimated at most"
        bound = f"false alarms {word} {percent(promise.bound)} with {percent(promise.confidence)} confidence"
    return OperatingPoint(
        max(profile.reached, profile.threshold + rounding),
        _outlining(profile, promise.rank),
        promise.bound,
        f"calibrated on {promise.n} good parts ({promise.scoring.kind}): {bound}",
        calibrated=True,
    )


def _outlining(profile: Profile, rank: int) -> float:
    """A level just above what all good pictures but `rank` - 1 stay below."""
    level = profile.calibration.mask_level(rank)
    level = profile.calibration.threshold(rank) if level is None else level
    return max(math.nextafter(level, math.inf), level + ROUNDING * profile.calibration.spread)
