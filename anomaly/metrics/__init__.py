"""Metrics of anomaly detection: exact, in one pass, mergeable across processes. Knows neither models nor files."""

from anomaly.metrics.image import ImageMetrics
from anomaly.metrics.pixel import PixelMetrics
from anomaly.metrics.result import Curves, MetricResult, Provenance

__all__ = ["Curves", "ImageMetrics", "MetricResult", "PixelMetrics", "Provenance"]
