"""Puts the metrics' results under the names that tables and files use, and thins curves for plots."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from anomaly.metrics import MetricResult
from anomaly.testsets.cards import METRICS

CURVE_POINTS = 200


def named_figures(
    pixels: MetricResult | None, why_no_pixels: str, image: MetricResult | None
) -> dict[str, dict[str, Any]]:
    """The figures under the names of `METRICS`, with what is known about each."""
    names = ("undefined", "provenance", "error_bound", "threshold")
    columns: dict[str, dict[str, Any]] = {"metrics": dict.fromkeys(METRICS), **{name: {} for name in names}}
    _add(columns, pixels, "pixel_", why_no_pixels)
    _add(columns, image, "image_", "the labels of this test set are secret")
    for name in METRICS:
        if columns["metrics"][name] is None and name not in columns["undefined"]:
            columns["undefined"][name] = why_no_pixels
    return columns


def _add(columns: dict[str, dict[str, Any]], result: MetricResult | None, prefix: str, why_not: str) -> None:
    if result is None:
        known = [m for m in METRICS if m.startswith(prefix) or (m == "pro" and prefix == "pixel_")]
        columns["undefined"].update(dict.fromkeys(known, why_not))
        return
    for name, value in result.items():
        if name == "threshold":
            columns["threshold"][prefix + "f1_max"] = value
            continue
        full = name if name.startswith("pro") else prefix + name
        columns["metrics"][full] = value
        if name in result.undefined:
            columns["undefined"][full] = result.undefined[name]
        if name in result.provenance:
            columns["provenance"][full] = asdict(result.provenance[name])
        columns["error_bound"][full] = result.error_bound.get(name, 0.0)


def thinned_curves(pixels: MetricResult | None, image: MetricResult | None) -> dict[str, list[float | None]]:
    """Curves for plots: at most twice `CURVE_POINTS` points each, nan as null."""
    curves: dict[str, list[float | None]] = {}
    for prefix, result in (("pixel", pixels), ("image", image)):
        if result is None or result.curves is None:
            continue
        fpr = result.curves.fpr
        # Evenly over the whole range, and more densely towards zero, where curves are steep.
        wanted = np.concatenate([np.linspace(0, 1, CURVE_POINTS), np.geomspace(1e-6, 1, CURVE_POINTS)])
        keep = np.unique(np.searchsorted(fpr, wanted).clip(0, max(fpr.size - 1, 0)))
        for name in ("fpr", "tpr", "precision", "pro"):
            values = getattr(result.curves, name)
            if values is not None and values.size:
                curves[f"{prefix}_{name}"] = [
                    None if np.isnan(v) else round(float(v), 6) for v in values[keep]
                ]
    return curves
