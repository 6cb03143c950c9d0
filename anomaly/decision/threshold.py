"""Where "defect" begins: a model's defaults, and the threshold that was measured for it.

A model's folder may hold `inspection.yaml`: how it is used unless told otherwise, and an operating point with the
settings it was measured with. It is valid for these settings' hash only; with others images stay unjudged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.settings import InspectionSettings

FILE = "inspection.yaml"
RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, math.inf), "logit": (-math.inf, math.inf)}


@dataclass(frozen=True)
class OperatingPoint:
    """An image is a defect when its score reaches `threshold`; `mask_threshold` outlines the regions.

    Both are in the unit of the activation. `false_alarm_rate` (0..1) is what was measured, None when a user
    set the threshold; `source` says where it comes from, in a sentence for reports. `settings` are those it was
    measured with, None for one that a user set; `calibrated` says that it comes from good pictures of this very part.
    """

    threshold: float
    mask_threshold: float
    false_alarm_rate: float | None
    source: str
    settings: InspectionSettings | None = None
    calibrated: bool = False


@dataclass(frozen=True)
class MapSettings:
    """From logits to a heatmap; see `InspectionSettings`. As they are here: a published model's.

    `description` says what makes its pictures comparable: `tokens` of its own, or `eyes`, nano's.
    """

    activation: str = "softmax"
    smooth: float = 0.0
    scales: str = "1"
    self_similarity: float = 0.0
    dark_lines: float = 0.0
    guided: float = 0.0
    description: str = "tokens"


# Settings of an `Inspector` that add nothing to what the text says: for asking whether a model listens.
TEXT_ALONE: dict[str, Any] = {"smooth": 0.0, "self_similarity": 0.0, "dark_lines": 0.0, "guided": 0.0}


def read_defaults(folder: Path) -> tuple[MapSettings, OperatingPoint | None]:
    """What the model in `folder` is inspected with unless told otherwise, and its operating point if it has one.

    Raises `SteerAnomalyError` when the folder's `inspection.yaml` is not one.
    """
    import yaml

    path = folder / FILE
    if not path.is_file():
        return MapSettings(), None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        point = content.pop("operating_point", None)
        return MapSettings(**content), _read_point(point) if point else None
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError, KeyError) as error:
        names = ", ".join(field.name for field in fields(MapSettings))
        raise SteerAnomalyError(
            f"{path}: expected the keys {names} and operating_point, as a training recipe's export writes them; "
            f"{error}. Export the model again, or delete the file to use it without defaults"
        ) from error


def _read_point(content: dict[str, Any]) -> OperatingPoint:
    settings = InspectionSettings.from_dict(content["settings"])
    numbers: dict[str, Any] = {
        name: float(content[name]) for name in ("threshold", "mask_threshold", "false_alarm_rate")
    }
    return OperatingPoint(**numbers, source=str(content["source"]), settings=settings)


def valid_point(
    point: OperatingPoint | None, settings: InspectionSettings
) -> tuple[OperatingPoint | None, str]:
    """The point if it was measured with `settings`, and if not, why not, in words."""
    if point is None:
        return None, "no threshold was measured for this model"
    if point.settings is None or point.settings.hash == settings.hash:
        return point, ""
    if point.settings.company != settings.company:
        judged, these = (
            f"compared with {one}" if one else "alone" for one in (point.settings.company, settings.company)
        )
        return None, f"the model's threshold is for pictures judged {judged}, and these are judged {these}"
    then, now = point.settings.to_dict(), settings.to_dict()
    said = [
        f"{_word(name)} {_brief(then[name])}, not {_brief(now[name])}"
        for name in settings.differing(point.settings)
    ]
    return None, f"the model's threshold was measured with {'; '.join(said)}"


def with_given(
    point: OperatingPoint | None,
    threshold: float | None,
    mask_threshold: float | None,
    settings: InspectionSettings,
) -> OperatingPoint | None:
    """The point with a user's thresholds in their place; each moves alone.

    Where no level for masks is known, regions are outlined from the image's threshold on. Raises
    `SteerAnomalyError` for a threshold that scores of this activation cannot reach.
    """
    for value in (threshold, mask_threshold):
        if value is not None:
            _check(value, settings)
    if threshold is not None:
        known = point.mask_threshold if point is not None else threshold
        mask = known if mask_threshold is None else mask_threshold
        return OperatingPoint(threshold, mask, None, "set by the user")
    if mask_threshold is not None and point is not None:
        return replace(point, mask_threshold=mask_threshold)
    return point


def _check(value: float, settings: InspectionSettings) -> None:
    activation = settings.activation
    low, high = RANGES[activation]
    if settings.contrast:  # a difference of two means
        low = -high
    if not (math.isfinite(value) and low <= value <= high):
        span = (
            f"from {low:g} to {high:g}"
            if math.isfinite(high)
            else f"of at least {low:g}"
            if low == 0
            else "that is finite"
        )
        raise SteerAnomalyError(
            f"expected a threshold {span}, as {activation} scores are, got {value:g}; the report's "
            "histogram shows the scores of your images"
        )


def _word(name: str) -> str:
    return {"contrast": "contrast prompts"}.get(name, name.replace("_", " "))


def _brief(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return f"{len(value)} ({value[0]!r}{', ...' * (len(value) > 1)})" if value else "none"
    if isinstance(value, dict):
        return "those of " + ", ".join(f"{part} {digest[:8]}" for part, digest in value.items())
    return str(value)
