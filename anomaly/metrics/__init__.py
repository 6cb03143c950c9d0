"""Metrics of anomaly detection: one pass, mergeable across processes. Knows neither models nor files."""

from anomaly.metrics.bootstrap import (
    Difference,
    ImageSamples,
    Interval,
    PixelSamples,
    confidence_intervals,
    paired_difference,
)
from anomaly.metrics.calpro import calpro200
from anomaly.metrics.image import ImageMetrics
from anomaly.metrics.pixel import PixelMetrics
from anomaly.metrics.result import Curves, MetricResult, Provenance
from anomaly.metrics.segmentation import SegF1

__all__ = [
    "Curves",
    "Difference",
    "ImageMetrics",
    "ImageSamples",
    "Interval",
    "MetricResult",
    "PixelMetrics",
    "PixelSamples",
    "Provenance",
    "SegF1",
    "calpro200",
    "confidence_intervals",
    "paired_difference",
]
