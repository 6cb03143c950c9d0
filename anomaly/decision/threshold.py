"""Where "defect" begins: defaults per model, and the thresholds that were measured for them.

A threshold belongs to weights and settings. With others there is none, and images stay unjudged: calibrating
on good parts of one's own will put its own `OperatingPoint` here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class OperatingPoint:
    """An image is a defect when its score reaches `threshold`; `mask_threshold` outlines the regions.

    Both are in the unit of the activation. `false_alarm_rate` (0..1) is what was measured, None when a user
    set the threshold; `source` says where it comes from, in a sentence for reports.
    """

    threshold: float
    mask_threshold: float
    false_alarm_rate: float | None
    source: str


@dataclass(frozen=True)
class MapSettings:
    """From logits to a heatmap; see `Inspector`. `smooth` is in pixels of the model's image."""

    activation: str
    smooth: float
    scales: str
    self_similarity: float
    dark_lines: float


# Settings of an `Inspector` that add nothing to what the text says: for asking whether a model listens.
TEXT_ALONE: dict[str, Any] = {"smooth": 0.0, "self_similarity": 0.0, "dark_lines": 0.0}


def defaults(model: str, weights: str | None) -> tuple[MapSettings, OperatingPoint | None]:
    """What the model called `model` is inspected with unless told otherwise.

    The operating point is None unless `weights` are those that it was measured on.
    """
    table = yaml.safe_load(Path(__file__).with_name("operating_points.yaml").read_text(encoding="utf-8"))
    entry = table.get(model, table["published"])
    point = None
    if weights is not None and entry.get("weights") == weights:
        rate = entry["false_alarm_rate"]
        point = OperatingPoint(entry["threshold"], entry["mask_threshold"], rate, entry["source"])
    return MapSettings(**{field.name: entry[field.name] for field in fields(MapSettings)}), point
