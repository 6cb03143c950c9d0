"""What Prometheus reads. Counts; decides nothing."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10)
PREFIX = "steer_anomaly_"


class Measures:
    """A registry of its own, so that two services in one process do not share counts."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = known = CollectorRegistry()
        self.seconds = Histogram(
            f"{PREFIX}answer_seconds",
            "From a whole request to its answer",
            ["route"],
            buckets=SECONDS,
            registry=known,
        )
        self.inspection = Histogram(
            f"{PREFIX}inspection_seconds", "One picture in the model, alone", buckets=SECONDS, registry=known
        )
        self.verdicts = Counter(
            f"{PREFIX}verdicts", "Pictures judged", ["profile", "verdict"], registry=known
        )
        self.refused = Counter(f"{PREFIX}refused", "Requests not answered", ["code"], registry=known)
        self.feedback = Counter(
            f"{PREFIX}feedback", "What people said of parts", ["profile", "was", "verdict"], registry=known
        )
        self.capital = Gauge(
            f"{PREFIX}drift_evidence", "Against 'nothing changed'; alarm at 100", ["profile"], registry=known
        )
        self.alarm = Gauge(f"{PREFIX}drift_alarm", "1 once the alarm was raised", ["profile"], registry=known)
        self.version = Gauge(
            f"{PREFIX}profile_version", "The version that judges", ["profile"], registry=known
        )
        Gauge(f"{PREFIX}queue_pictures", "Pictures that wait", registry=known).set_function(waiting)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
