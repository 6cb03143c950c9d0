"""A method as an evaluation asks it: in place of `anomaly.inspector.Inspector`, one picture at a time, no verdicts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from copy import copy
from threading import Lock
from typing import Any

import numpy as np

from anomaly import heatmaps
from anomaly.comparison import ReferenceSet
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.guided import follow
from anomaly.inspection import Inspection
from anomaly.methods.method import Method
from anomaly.pictures.sizes import picture_at


class MethodInspector:
    """Maps and scores by `method`. `smooth` (sigma in px) in place of the method's own; with `guided` (px) maps follow
    their pictures, as `anomaly.guided.follow` has it, which none does by itself.

    Good pictures are learned once for each part, in whichever thread asks first.
    """

    mutual = False

    def __init__(
        self, method: Method, smooth: float | None = None, device: str = "cpu", guided: float | None = None
    ) -> None:
        self.method, self.device, self.guided = method, device, guided or None
        self.smooth = method.smooth if smooth is None else smooth
        self.references = ReferenceSet()
        self._fitted: dict[str, Method] = {}
        self._fitting, self._loading, self._loaded = Lock(), Lock(), False

    def describe(self) -> dict[str, Any]:
        """Method, weights, and how maps are finished, ready for JSON; see `Inspector.describe`."""
        found = self.method.describe()
        model = found.get("model")
        named = self.method.name if model == "none" else f"{self.method.name} on {model}"
        settings = {
            **found,
            "method": self.method.name,
            "smooth": self.smooth,
            "weights": model,
            "model": named,
        }
        if self.guided:
            settings["guided"] = self.guided
        if len(self.references):
            settings["company"] = f"{len(self.references)} references {self.references.hash[:16]}"
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        about = {
            "model_about": self.method.about,
            "threshold": None,
            "mask_threshold": None,
            "device": self.device,
        }
        return (
            settings | about | {"settings_hash": digest, "threshold_source": "none: a baseline only scores"}
        )

    def with_references(self, references: ReferenceSet) -> MethodInspector:
        """The same method, to be fitted to these good pictures."""
        other = copy(self)
        other.references, other._fitted = references, {}
        return other

    def check_references(self, object: str) -> list[Any]:
        """None: a baseline takes good pictures as they come."""
        return []

    def inspect_batch(self, images: Sequence[np.ndarray], object: str) -> list[Inspection | NotJudged]:
        """One inspection for each RGB uint8 H x W x 3 image, in order, or why there is none."""
        method = self._ready(object)
        if self._loaded:
            return [self._inspect(method, image, object) for image in images]
        with self._loading:  # weights are loaded by whichever thread comes first, once
            found = [self._inspect(method, image, object) for image in images]
            self._loaded = True
            return found

    def _ready(self, object: str) -> Method:
        if not self.method.needs_good:
            return self.method
        if not len(self.references):
            raise SteerAnomalyError(
                f"{self.method.name} has to see good pictures of {object} first, and there are none: add some to its "
                "train/good, or leave this category out"
            )
        with self._fitting:
            if object not in self._fitted:
                self._fitted[object] = self.method.fitted(self.references.images, object)
            return self._fitted[object]

    def _inspect(self, method: Method, image: np.ndarray, object: str) -> Inspection | NotJudged:
        began = time.perf_counter()
        found = method.find(image, object)
        small = heatmaps.smooth(heatmaps.resize(found.map.astype(np.float32), found.seen_hw), self.smooth)
        score = found.score
        if score is None:
            score = float(small.max()) if method.peak else heatmaps.image_score(small)
        if not (np.isfinite(score) and np.isfinite(small).all()):
            return NotJudged(f"{method.name} gave values that are not finite for this image")
        if self.guided:
            small = follow(small, picture_at(image, found.seen_hw), self.guided)
        heatmap = heatmaps.resize(small, image.shape[:2])
        milliseconds = (time.perf_counter() - began) * 1000
        mask = np.zeros(heatmap.shape, bool)
        return Inspection(score, None, heatmap, mask, (), None, object, method.name, milliseconds)
