"""The gate: is a picture fit to be judged? Limits are learned from the calibration pictures, wide on purpose.

It knows nothing of defects. A picture that fails is neither ok nor defect but `unfit`, with the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np

from anomaly.errors import SteerAnomalyError

SIDE = 256  # px, longer side at which pictures are measured, so that cameras of any resolution compare
DEPTH = 1 / 255  # one step of an 8-bit picture
SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution
WIDTH = 6.0  # robust standard deviations within the limits


@dataclass(frozen=True)
class Look:
    """What the gate measures on a picture.

    `brightness` is the mean and `contrast` the standard deviation of grey, 0..1; `sharpness` the variance of the
    Laplacian over that of grey, both at 256 px; `dark` and `bright` the shares of pixels (0..1) at the ends of the
    range; `side` the longer side in px; `aspect` width over height; `distance` to the nearest reference picture in
    the features' unit, None where there are no references.
    """

    brightness: float
    contrast: float
    sharpness: float
    dark: float
    bright: float
    side: float
    aspect: float
    distance: float | None = None


@dataclass(frozen=True)
class Limit:
    """The range of a measure, both ends included; a missing end is unlimited."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reason:
    """Why a picture is unfit: the measure's name in `Look`, its value, the limit it broke, and a sentence."""

    measure: str
    value: float
    limit: Limit
    sentence: str


@dataclass(frozen=True)
class _Measure:
    """How a measure is limited: at least `margin` to either side, as a factor where it is `relative`.

    `low` and `high` say what is wrong below and above; None means that side has no limit.
    """

    low: str | None
    high: str | None
    name: str
    margin: float
    relative: bool = False
    unit: str = "%"


MEASURES = {
    "brightness": _Measure("too dark", "too bright", "mean brightness", 0.12),
    "contrast": _Measure("too low in contrast", None, "contrast", 2.0, relative=True),
    "sharpness": _Measure("blurred", None, "sharpness", 3.0, relative=True, unit=""),
    "dark": _Measure(None, "clipped to black", "share of black pixels", 0.1),
    "bright": _Measure(None, "clipped to white", "share of white pixels", 0.1),
    "side": _Measure("too small", "too large", "longer side", 1.5, relative=True, unit="px"),
    "aspect": _Measure("of another shape", "of another shape", "width over height", 1.05, relative=True, unit=""),
    "distance": _Measure(None, "not this part at all", "distance to the nearest reference", 2.0, True, unit=""),
}  # fmt: skip


def look(image: np.ndarray, distance: float | None = None) -> Look:
    """Measure a picture, RGB uint8 H x W x 3; `distance` as in `Look`. Raises for another array or a NaN distance."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise SteerAnomalyError(
            f"expected an RGB picture, uint8 H x W x 3, got {image.dtype} of shape {image.shape}; "
            "read it with read_image"
        )
    if distance is not None and not math.isfinite(distance):
        raise SteerAnomalyError(
            f"expected a finite distance to the references, got {distance}; see their features"
        )
    height, width = image.shape[:2]
    shrunk = min(1.0, SIDE / max(height, width))  # never enlarged: that would only blur
    size = max(1, round(width * shrunk)), max(1, round(height * shrunk))
    full = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(full, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    laplacian = cv2.Laplacian(grey, cv2.CV_32F, borderType=cv2.BORDER_REFLECT_101)
    return Look(
        brightness=float(grey.mean()),
        contrast=float(grey.std()),
        sharpness=float(laplacian.var() / (grey.var() + DEPTH**2)),
        dark=float((full <= 2).mean()),
        bright=float((full >= 253).mean()),
        side=float(max(height, width)),
        aspect=width / height,
        distance=distance,
    )


@dataclass(frozen=True)
class Gate:
    """Limits by the name of a measure in `Look`. A measure without limits is not looked at."""

    limits: Mapping[str, Limit]

    def reasons(self, seen: Look) -> tuple[Reason, ...]:
        """Why the picture is unfit, in the order of the measures; empty when it is fit.

        Raises `SteerAnomalyError` when distances are limited and this one is missing.
        """
        found = (self._reason(name, limit, getattr(seen, name)) for name, limit in self.limits.items())
        return tuple(reason for reason in found if reason is not None)

    def _reason(self, name: str, limit: Limit, value: float | None) -> Reason | None:
        if value is None:
            raise SteerAnomalyError(
                "expected the picture's distance to the references, as the gate was learned with it, got none; score "
                "with the profile's references, or turn the gate off with --no-gate"
            )
        measure = MEASURES[name]
        wrong = None
        if limit.low is not None and value < limit.low:
            wrong = measure.low
        if limit.high is not None and value > limit.high:
            wrong = measure.high
        return Reason(name, value, limit, _sentence(measure, wrong, value, limit)) if wrong else None

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        """Plain JSON-able values; `from_dict` takes them back."""
        return {name: asdict(limit) for name, limit in self.limits.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, float | None]]) -> Gate:
        """The inverse of `to_dict`. Raises `SteerAnomalyError` for a measure or a limit it did not write."""
        limits = {}
        for name, ends in values.items():
            known = name in MEASURES and set(ends) == {"low", "high"}
            if not known or any(end is not None and not _number(end) for end in ends.values()):
                raise SteerAnomalyError(
                    f"expected limits low and high of {', '.join(MEASURES)}, got {name}: {dict(ends)}; calibrate again"
                )
            limits[name] = Limit(ends["low"], ends["high"])
        return cls(limits)


def learn(looks: Sequence[Look]) -> Gate:
    """Limits from pictures of good parts: the median, and to each side six robust standard deviations.

    Fewer pictures give wider limits (by 1 + 3 / n), and never narrower ones than a measure's own margin, so that
    even one picture is enough to learn from. Distances are limited when all pictures have one. Raises
    `SteerAnomalyError` for no picture.
    """
    if not looks:
        raise SteerAnomalyError(
            "expected pictures to learn the gate from, got none; give at least one good picture"
        )
    limits = {}
    for field in fields(Look):
        values = [getattr(seen, field.name) for seen in looks]
        if all(value is not None for value in values):
            limits[field.name] = _limit(MEASURES[field.name], np.asarray(values, np.float64))
    return Gate(limits)


def _limit(measure: _Measure, values: np.ndarray) -> Limit:
    scaled = np.log(np.maximum(values, 1e-9)) if measure.relative else values
    least = math.log(measure.margin) if measure.relative else measure.margin
    middle = float(np.median(scaled))
    spread = SIGMA * float(np.median(np.abs(scaled - middle)))
    reach = max(least, WIDTH * (1 + 3 / len(values)) * spread)
    low, high = middle - reach, middle + reach
    if measure.relative:
        low, high = math.exp(low), math.exp(high)
    return Limit(low if measure.low else None, high if measure.high else None)


def distances(features: np.ndarray, references: np.ndarray, *, itself: bool = False) -> np.ndarray:
    """Euclidean distance of each of N vectors (N, D) to the nearest of M references (M, D): (N,) float64.

    With `itself` both are the same pictures and each is compared with the others only; it needs two.
    """
    from scipy.spatial.distance import cdist  # a third of a second, and not every run needs it

    apart = cdist(np.asarray(features, np.float64), np.asarray(references, np.float64))
    if itself:
        np.fill_diagonal(apart, np.inf)
    if apart.shape[1] < 1 + itself:
        raise SteerAnomalyError(
            "expected other pictures to compare with, got none; give at least two good pictures"
        )
    return apart.min(axis=1)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _sentence(measure: _Measure, wrong: str, value: float, limit: Limit) -> str:
    low = "" if limit.low is None else f"at least {_shown(max(limit.low, 0), measure.unit)}"
    high = "" if limit.high is None else f"at most {_shown(limit.high, measure.unit)}"
    expected = " and ".join(end for end in (low, high) if end)
    return f"The picture is {wrong}: {measure.name} {_shown(value, measure.unit)}, expected {expected}."


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.0f} px" if unit == "px" else f"{value:.3g}"
