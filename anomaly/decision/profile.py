"""A profile: all that a calibration found, so that pictures can be judged years later by nothing else.

Its settings are plain values here; which of them exist, and what they do, the inspector knows. `profile_file` writes
and reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from anomaly.decision.calibration import Calibration
from anomaly.decision.gate import Gate, Look, learn
from anomaly.decision.promise import Promise, percent, promised
from anomaly.decision.split import joined
from anomaly.errors import SteerAnomalyError
from anomaly.regions import NO_LEAST, Least

SHA256 = re.compile(r"[0-9a-f]{64}")
DTYPES = ("float16", "float32", "float64", "uint8", "int32", "int64")
SAME_SCORE = 1e-3  # relative; the same picture on another machine differs by rounding only


@dataclass(frozen=True)
class Provenance:
    """Where a profile comes from: time (ISO 8601), version of the tool, and SHA-256 of the pictures for each use."""

    created: str
    tool_version: str
    references: tuple[str, ...]
    calibration: tuple[str, ...]

    @classmethod
    def now(cls, tool_version: str, references: Sequence[str], calibration: Sequence[str]) -> Provenance:
        """With the time that it is, in UTC to the second."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(created, tool_version, tuple(references), tuple(calibration))


@dataclass(frozen=True, eq=False)
class Profile:
    """What one part is judged by.

    `hashes` are the SHA-256 of the model's files by part, `settings` JSON-able, `settings_hash` theirs as the
    inspector takes it. `calibration`, `looks` (none, or one a picture) and `provenance.calibration` are in the same
    order. `references` are arrays by name, such as a bank of features or a mask. `least` is the smallest region that is
    a defect. Raises `SteerAnomalyError` for what does not
    belong together.
    """

    object: str
    model: str
    hashes: Mapping[str, str]
    prompts: tuple[str, ...]
    settings: Mapping[str, Any]
    settings_hash: str
    calibration: Calibration
    promise: Promise
    provenance: Provenance
    looks: tuple[Look, ...] = ()
    gate: Gate | None = None
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    least: Least = NO_LEAST

    def __post_init__(self) -> None:
        pictures = len(self.calibration.scores)
        for name, count in (("picture hashes", len(self.provenance.calibration)), ("looks", len(self.looks))):
            if count != pictures and not (name == "looks" and count == 0):
                raise _wrong(f"{pictures} {name}, one per calibration score", count)
        if (self.promise.n, self.promise.scoring) != (self.calibration.n, self.calibration.scoring):
            raise _wrong(
                f"a promise for {self.calibration.n} parts, {self.calibration.scoring}", self.promise
            )
        for digest in (*self.provenance.references, *self.provenance.calibration, *self.hashes.values()):
            if not SHA256.fullmatch(digest):
                raise _wrong("SHA-256 hashes, 64 digits in hex", repr(digest))
        both = set(self.provenance.references) & set(self.provenance.calibration)
        if both and self.promise.scoring.kind == "held out":
            raise _wrong("calibration pictures that are no references", f"{len(both)} that are both")
        for name, array in self.references.items():
            if array.dtype.name not in DTYPES or not np.isfinite(array).all():
                raise _wrong(f"finite references of {', '.join(DTYPES)}", f"{name} of {array.dtype.name}")

    @cached_property
    def threshold(self) -> float:
        """A score above it is a defect."""
        return self.calibration.threshold(self.promise.rank)

    @cached_property
    def reached(self) -> float:
        """The lowest score that is a defect, for code that asks whether a score reaches a threshold."""
        return math.nextafter(self.threshold, math.inf)

    @cached_property
    def mask_level(self) -> float | None:
        """Pixels above it are outlined; None when no heatmap maxima were kept."""
        return self.calibration.mask_level(self.promise.rank)

    @cached_property
    def digest(self) -> str:
        """Tells this profile's verdicts from another's: 16 digits in hex of its scores, threshold and references."""
        said = [self.settings_hash, self.calibration.scores, self.promise.rank, self.provenance.references]
        said += [self.least.to_dict()] if self.least.to_dict() else []
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def at(
        self, target: float | None, confidence: float | None = None, *, best_effort: bool = False
    ) -> Profile:
        """The same calibration with another false-alarm rate (0..1). Raises `TooFewParts` as `promised` does."""
        confidence = self.promise.confidence if confidence is None else confidence
        calibration = self.calibration
        promise = promised(calibration.n, target, confidence, calibration.scoring, best_effort=best_effort)
        return replace(self, promise=promise)

    def describe(self) -> str:
        """The profile in words, several lines."""
        level = "" if self.mask_level is None else f"; pixels above {self.mask_level:.6g} are outlined"
        sizes = ", ".join(f"{name} {' x '.join(map(str, a.shape))}" for name, a in self.references.items())
        limited = ", ".join(self.gate.limits) if self.gate else "none"
        promise = self.promise
        asked = "" if promise.target is None else f"asked: at most {percent(promise.target)}; "
        lines = [
            f"Profile of: {self.object}",
            f"Created {self.provenance.created} by steer-anomaly {self.provenance.tool_version}",
            f"Model {self.model} ({', '.join(f'{part} {digest[:8]}' for part, digest in self.hashes.items())})",
            f"Settings {self.settings_hash[:8]}: {', '.join(f'{k} {_short(v)}' for k, v in self.settings.items())}",
            f"Prompts: {'; '.join(self.prompts)}",
            f"References: {len(self.provenance.references)} pictures{f' ({sizes})' if sizes else ''}",
            f"Calibration: {len(self.calibration.scores)} pictures of {promise.n} parts ({promise.scoring.kind})",
            f"Threshold: a score above {self.threshold:.6g} is a defect ({asked}rank {promise.rank}){level}",
            f"Gate: {limited}",
            *(
                [f"Sizes: {', '.join(f'{k} {v:g}' for k, v in self.least.to_dict().items())}"]
                if self.least.to_dict()
                else []
            ),
            self.promise.sentence(),
            *self.calibration.remarks(),
        ]
        return "\n".join(lines)


def merge(first: Profile, second: Profile, *, best_effort: bool = False) -> Profile:
    """One profile with both calibrations; a picture in both counts once. The first's rate and confidence are kept.

    Raises `SteerAnomalyError` unless both were made with the same model, settings and references, and scored alike;
    `TooFewParts` as `promised` does.
    """
    for name, mine, theirs in (
        ("object", first.object, second.object), ("model's files", dict(first.hashes), dict(second.hashes)),
        ("settings", first.settings_hash, second.settings_hash),
        ("smallest defect", first.least.to_dict(), second.least.to_dict()),
        ("way of scoring", first.promise.scoring, second.promise.scoring),
        ("false-alarm rate", first.promise.target, second.promise.target),
        ("confidence", first.promise.confidence, second.promise.confidence),
    ):  # fmt: skip
        if mine != theirs:
            raise SteerAnomalyError(
                f"expected two profiles of the same {name}, got {_short(mine)} and {_short(theirs)}; scores of "
                "different kinds cannot be joined: calibrate once on all pictures"
            )
    if not _same_arrays(first.references, second.references):
        raise SteerAnomalyError(
            "expected two profiles with the same references, got different ones: scores against different references "
            "cannot be joined. Use `profile extend` with new pictures, or calibrate once on all pictures"
        )
    return _with(
        first, second.calibration, second.looks, second.provenance.calibration, best_effort=best_effort
    )


def extend(
    profile: Profile,
    new: Calibration,
    pictures: Sequence[str],
    looks: Sequence[Look] = (),
    *,
    best_effort: bool = False,
) -> Profile:
    """The profile with further good pictures, scored by the profile's own settings and references.

    `pictures` are their SHA-256. Raises `SteerAnomalyError` when they were scored in another way or are references,
    `TooFewParts` as `promised` does.
    """
    if new.scoring != profile.promise.scoring or profile.promise.scoring.kind == "cross-fitted":
        raise SteerAnomalyError(
            f"expected pictures to add to a profile that was calibrated {profile.promise.scoring.kind}, got such "
            f"scored {new.scoring.kind}; cross-fitted ones cannot be extended: calibrate once on all pictures"
        )
    return _with(profile, new, tuple(looks), tuple(pictures), best_effort=best_effort)


def _with(
    profile: Profile,
    new: Calibration,
    looks: tuple[Look, ...],
    pictures: tuple[str, ...],
    *,
    best_effort: bool,
) -> Profile:
    old, known = profile.calibration, profile.provenance.calibration
    _check_new(profile, new, looks, pictures)
    seen_before = set(known)
    first = {digest: place for place, digest in reversed(list(enumerate(pictures)))}
    fresh = [
        place for place, digest in enumerate(pictures) if digest not in seen_before and first[digest] == place
    ]
    labels = list(old.parts or range(len(known)))
    further = list(new.parts or range(len(pictures)))
    offset = max(labels) + 1 - min(further, default=0)
    parts = joined([*known, *pictures], labels + [offset + part for part in further])
    scores = old.scores + tuple(new.scores[place] for place in fresh)
    peaks = None if old.peaks is None else old.peaks + tuple((new.peaks or ())[place] for place in fresh)
    kept = parts[: len(known)] + tuple(parts[len(known) + place] for place in fresh)
    calibration = Calibration(scores, peaks, kept, old.scoring)
    seen = profile.looks + tuple(looks[place] for place in fresh) if profile.looks else ()
    given = profile.promise
    return replace(
        profile,
        calibration=calibration,
        promise=promised(
            calibration.n, given.target, given.confidence, given.scoring, best_effort=best_effort
        ),
        looks=seen,
        gate=learn(seen) if profile.gate and seen else profile.gate,
        provenance=Provenance.now(
            profile.provenance.tool_version,
            profile.provenance.references,
            known + tuple(pictures[place] for place in fresh),
        ),
    )


def _check_new(
    profile: Profile, new: Calibration, looks: tuple[Look, ...], pictures: tuple[str, ...]
) -> None:
    """New pictures must come with all that the old ones have, be no references, and score as before if known."""
    if len(pictures) != len(new.scores):
        raise _wrong(f"{len(new.scores)} picture hashes, one per score", len(pictures))
    if profile.looks and len(looks) != len(pictures):
        raise _wrong(f"{len(pictures)} looks, one per picture, as the profile has them", len(looks))
    if profile.calibration.peaks is not None and new.peaks is None:
        raise _wrong("heatmap maxima of the new pictures, as the profile has them", "none")
    if set(pictures) & set(profile.provenance.references) and new.scoring.kind == "held out":
        raise _wrong("pictures that are no references of the profile", "some that are")
    before = dict(zip(profile.provenance.calibration, profile.calibration.scores, strict=True))
    for digest, score in zip(pictures, new.scores, strict=True):
        if digest in before and abs(score - before[digest]) > SAME_SCORE * max(
            abs(score), abs(before[digest])
        ):
            raise _wrong(f"the score {before[digest]:g} of the picture {digest[:8]}, as before", f"{score:g}")


def _same_arrays(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    return set(first) == set(second) and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name])
        for name in first
    )


def _wrong(expected: str, came: object) -> SteerAnomalyError:
    return SteerAnomalyError(f"expected {expected}, got {came}; calibrate again")


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {str(part)[:8]}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return f"{len(value)} values" if len(value) > 3 else " ".join(map(str, value))
    return str(value)
