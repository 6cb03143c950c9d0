"""From pictures of good parts to a profile: who is a reference, how each is scored, what may be promised.

It is given what was seen of each picture and an inspector to conclude with; it reads no files and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from anomaly import __version__
from anomaly.comparison import Comparison, DescribedReferences, ReferenceSet, compare, sampled
from anomaly.decision.calibration import Calibration
from anomaly.decision.gate import Look, learn
from anomaly.decision.pairs import Pairs
from anomaly.decision.plan import Pictures, Plan, planned
from anomaly.decision.profile import Profile, Provenance
from anomaly.decision.promise import HELD_OUT, Scoring, promised
from anomaly.decision.split import Outlier, joined, same_parts, two_kinds, unlike_others
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.evidence.descriptions import Description
from anomaly.evidence.references import BANK
from anomaly.observation import Observation

if TYPE_CHECKING:
    from anomaly.inspection import Inspection
    from anomaly.inspector import Inspector


@dataclass(frozen=True)
class Good:
    """What was seen of one picture of a good part: `name` for people, its `content` hash, what the model observed.

    `thumbnail` (3072,) as of `split.thumbnail`; `look` without a distance.
    """

    name: str
    content: str
    observation: Observation
    thumbnail: np.ndarray
    look: Look


@dataclass(frozen=True)
class Wish:
    """What is asked of a calibration: rates within 0..1; `references` a number of parts, 0 for none, None for as fits.

    `best_effort` goes on where the rate asked for cannot be promised, or two kinds of part seem to be there.
    """

    false_alarms: float | None = None
    confidence: float = 0.95
    references: int | None = None
    drop_outliers: bool = False
    best_effort: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Calibrated:
    """A profile, the inspector that judges by it, and what a person should look at.

    `outliers` are pictures unlike all other good ones with how many times as far they lie; `dropped` says whether
    they were left out. `copies` counts pictures whose content was there already.
    """

    profile: Profile
    inspector: Inspector
    outliers: tuple[tuple[str, float], ...]
    dropped: bool
    copies: int


class TwoKinds(SteerAnomalyError):
    """The good pictures seem to show two different parts."""


def calibrate(seen: Sequence[Good], inspector: Inspector, wish: Wish) -> Calibrated:
    """The profile of the part that `seen` shows.

    `inspector` observed the pictures: one that compares pictures where references are wanted or it is `mutual`. Raises
    `TooFewParts` for a rate that cannot be promised, `TwoKinds`, and `SteerAnomalyError` for no picture, or too few
    to compare with each other.
    """
    pictures = _once(seen)
    if not pictures:
        raise SteerAnomalyError(
            "expected photographs of good parts to calibrate on, got none; give at least one"
        )
    parts = _parts(pictures)
    outliers = unlike_others(_features(pictures), parts)
    _check_one_kind(pictures, wish)
    inspector = inspector.with_roi(inspector.roi.learned([one.observation.part for one in pictures]))
    named = tuple((pictures[one.index].name, one.times) for one in outliers)
    if wish.drop_outliers and outliers:
        pictures = _without(pictures, outliers)
        parts = _parts(pictures)
    scored = _scored(pictures, parts, inspector, wish)
    calibration = Calibration(
        tuple(one.score for one in scored.found),
        tuple(float(one.heatmap_peak) for one in scored.found),
        tuple(parts[place] for place in scored.places),
        scored.scoring,
    )
    promise = promised(
        calibration.n, wish.false_alarms, wish.confidence, scored.scoring, best_effort=wish.best_effort
    )
    looks = tuple(one.look for one in scored.found)
    firsts = dict(zip(reversed(calibration.parts or ()), reversed(looks), strict=True))
    described = scored.inspector.references.described
    profile = Profile(
        object=pictures[0].observation.object,
        model=scored.inspector.record.name,
        hashes=scored.inspector.record.hashes,
        prompts=scored.inspector.settings.prompts,
        settings=scored.inspector.settings.to_dict(),
        settings_hash=scored.inspector.settings.hash,
        calibration=calibration,
        promise=promise,
        provenance=Provenance.now(
            __version__,
            scored.inspector.references.contents,
            [pictures[place].content for place in scored.places],
        ),
        looks=looks,
        gate=learn(list(firsts.values())),
        references=inspector.roi.to_arrays() | (described.to_arrays() if described else {}),
        least=inspector.judge.least,
    )
    return Calibrated(profile, scored.inspector, named, wish.drop_outliers, len(seen) - len(_once(seen)))


@dataclass(frozen=True)
class _Score:
    """Of one picture: score, the highest value of its heatmap, and its look with the distance to the references."""

    score: float
    heatmap_peak: float
    look: Look


@dataclass(frozen=True)
class _Scored:
    """`found` of the pictures at `places`, how they were scored, and the inspector that will go on scoring so."""

    places: tuple[int, ...]
    found: tuple[_Score, ...]
    scoring: Scoring
    inspector: Inspector


def _scored(pictures: Sequence[Good], parts: Sequence[int], inspector: Inspector, wish: Wish) -> _Scored:
    everything = tuple(range(len(pictures)))
    if wish.references == 0:
        if inspector.mutual:
            return _in_company(pictures, inspector)
        found = tuple(_score(one, inspector, None) for one in pictures)
        return _Scored(everything, found, HELD_OUT, inspector)
    described = Pictures(
        [one.content for one in pictures], parts, [len(_described(one).rows()) for one in pictures]
    )
    plan = planned(described, wish.references, wish.false_alarms, wish.confidence, wish.seed, BANK)
    kept = DescribedReferences.of([pictures[place].observation for place in plan.references])
    judging = inspector.with_references(ReferenceSet.of_described(kept))
    places = tuple(plan.compared)
    if plan.scoring == HELD_OUT:
        comparison = compare(kept.own, None, (), kept.bank)
        found = tuple(_score(pictures[place], judging, comparison) for place in places)
    else:
        found = _left_out(pictures, plan, judging)
    return _Scored(places, found, plan.scoring, judging)


def _left_out(pictures: Sequence[Good], plan: Plan, judging: Inspector) -> tuple[_Score, ...]:
    pairs = Pairs([_described(one) for one in pictures])
    found = []
    for place, others in plan.compared.items():
        own = [sampled(pictures[other].observation.own) for other in others]
        found.append(_score(pictures[place], judging, compare(own, None, (), pairs.references(others))))
    return tuple(found)


def _in_company(pictures: Sequence[Good], inspector: Inspector) -> _Scored:
    observed = [one.observation for one in pictures]
    with TemporaryDirectory() as folder:
        comparison = inspector.compare_all(observed, observed[0].object, Path(folder))
        found = tuple(_score(one, inspector, comparison) for one in pictures)
    return _Scored(
        tuple(range(len(pictures))), found, Scoring("same batches", batch=len(pictures)), inspector
    )


def _score(picture: Good, inspector: Inspector, comparison: Comparison | None) -> _Score:
    found = concluded(picture, inspector, comparison)
    distance = None
    if comparison is not None and comparison.references is not None:
        distance = comparison.of(_described(picture)).distance
    return _Score(found.score, float(found.heatmap.max()), replace(picture.look, distance=distance))


def scored_alone(
    seen: Sequence[Good], inspector: Inspector, scoring: Scoring
) -> tuple[Calibration, tuple[Look, ...], tuple[str, ...]]:
    """Scores, looks and contents of further good pictures, by an inspector of a profile whose scores came by `scoring`.

    Raises `SteerAnomalyError` for no picture, and where pictures are scored by their batch or by leaving out.
    """
    pictures = _once(seen)
    if not pictures:
        raise SteerAnomalyError("expected further photographs of good parts, got none that can be read")
    if scoring != HELD_OUT:
        raise SteerAnomalyError(
            f"expected a profile that was calibrated held out, got one {scoring.kind}, whose scores hang on all its "
            "pictures: calibrate once on all of them"
        )
    comparison = inspector.compare(pictures[0].observation.object) if len(inspector.references) else None
    found = [_score(one, inspector, comparison) for one in pictures]
    new = Calibration(
        tuple(one.score for one in found), tuple(one.heatmap_peak for one in found), _parts(pictures)
    )
    return new, tuple(one.look for one in found), tuple(one.content for one in pictures)


def scores_of(seen: Sequence[Good], inspector: Inspector) -> list[float]:
    """Scores of further pictures, observed as the good ones were, by the calibrated inspector."""
    if not seen:
        return []
    comparison = inspector.compare(seen[0].observation.object) if len(inspector.references) else None
    return [concluded(one, inspector, comparison).score for one in seen]


def concluded(picture: Good, inspector: Inspector, comparison: Comparison | None) -> Inspection:
    """The inspection of a picture that was observed. Raises `SteerAnomalyError` naming one that cannot be judged."""
    found = inspector.conclude(picture.observation, comparison)
    if isinstance(found, NotJudged):
        raise SteerAnomalyError(
            f"{picture.name}: {found}; a picture that cannot be scored must not calibrate: look at it and leave it out"
        )
    return found


def _once(seen: Sequence[Good]) -> list[Good]:
    """Pictures of one content once, in an order that files do not decide."""
    unlike: dict[str, Good] = {}
    for one in seen:
        unlike.setdefault(one.content, one)
    return [unlike[content] for content in sorted(unlike)]


def _parts(pictures: Sequence[Good]) -> tuple[int, ...]:
    return joined(
        [one.content for one in pictures], same_parts(np.stack([one.thumbnail for one in pictures]))
    )


def _features(pictures: Sequence[Good]) -> np.ndarray:
    """What tells kinds of pictures apart: their patches' mean where they are described, else their thumbnails."""
    described = [one.observation.description for one in pictures]
    return np.stack(
        [
            one.thumbnail if seen is None else seen.patches.mean((0, 1), dtype=np.float64)
            for one, seen in zip(pictures, described, strict=True)
        ]
    )


def _check_one_kind(pictures: Sequence[Good], wish: Wish) -> None:
    found = two_kinds(_features(pictures))
    if found is None or wish.best_effort:
        return
    larger, smaller = ([pictures[place].name for place in places] for places in found)
    raise TwoKinds(
        f"expected pictures of one kind of part, but they fall into two groups: {len(larger)} like {larger[0]} and "
        f"{len(smaller)} like {smaller[0]}; calibrate each kind of part on its own pictures"
    )


def _without(pictures: Sequence[Good], outliers: Sequence[Outlier]) -> list[Good]:
    odd = {one.index for one in outliers}
    return [one for place, one in enumerate(pictures) if place not in odd]


def _described(picture: Good) -> Description:
    description = picture.observation.description
    if description is None:
        raise SteerAnomalyError("expected pictures that were described, to compare with them, got others")
    return description
