"""An inspector without a model: a pixel is as anomalous as it is brighter than the image's median."""

from __future__ import annotations

import time

import numpy as np

from anomaly.inspection import Inspection


class FakeInspector:
    """Counts what it inspects. `delay` seconds per batch; `threshold` on the brightness difference."""

    mutual = False

    def __init__(self, delay: float = 0.0, threshold: float | None = None, name: str = "fake") -> None:
        self.delay, self.threshold, self.name = delay, threshold, name
        self.inspected: list[str] = []

    def describe(self):
        return {"model": self.name, "threshold": self.threshold, "device": "cpu"}

    def check_references(self, object):
        return []

    def inspect_batch(self, images, object):
        time.sleep(self.delay)
        self.inspected += [object] * len(images)
        return [self._inspect(image, object) for image in images]

    def _inspect(self, image, object):
        grey = image.mean(axis=2, dtype=np.float32)
        heatmap = grey - np.median(grey)
        score = float(np.partition(heatmap.ravel(), -9)[-9])
        known = self.threshold is not None
        mask = heatmap >= self.threshold if known else np.zeros(heatmap.shape, bool)
        verdict = score >= self.threshold if known else None
        return Inspection(score, verdict, heatmap, mask, (), self.threshold, object, self.name, 1.5)
