"""Run by tests in processes of their own: a set of pictures and an inspector without a model, killed where it is told.

python set_driver.py inspect PHOTOS OUT [STAGE AFTER]    STAGE: observe, compare or conclude
python set_driver.py eval CATEGORY OUT
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cv2
import numpy as np

from anomaly.comparison import add_to, compare, sampled
from anomaly.evaluation.labelled import TestImages
from anomaly.evaluation.run import Options, evaluate
from anomaly.evidence.descriptions import Description, content_hash
from anomaly.evidence.mutual import Company, FeatureStore
from anomaly.inspection import Inspection
from anomaly.observation import Observation
from anomaly.runs.folder import ResultFolder
from anomaly.runs.inspecting_sets import inspect_set_into
from anomaly.testsets.layouts import mvtec
from steervit.processes import joined


class DrawnSet:
    """Compares cells of 4 px by their colours. With a `stage`, the process is killed in it, `after` so many images."""

    mutual, description_hash = True, "ab" * 32

    def __init__(self, stage: str | None = None, after: int = 0) -> None:
        self._stage, self._left = stage, after

    def describe(self):
        return {"model": "drawn", "device": "none"}

    def observe(self, images, object):
        return [self._observe(image, object) for image in images]

    def _observe(self, image, object):
        self._step("observe")
        height, width = image.shape[:2]
        cells = (
            cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA).astype(np.float32)
            / 255
        )
        own = cells.mean(2)
        return Observation(
            own, (height, width), own.shape, object, {}, 1.0, Description(cells, content_hash(image))
        )

    def compare_all(self, observed, object, folder):
        store, own, keys = FeatureStore(folder, self.description_hash), [], []
        for one in observed:
            add_to(store, one)
            own.append(sampled(one.own))
            keys.append(one.description.content)
        Company(store, keys).scores(folder / "scores", lambda *_: self._step("compare"))
        return compare(own, store, keys, None, folder / "scores")

    def conclude(self, observation, comparison):
        self._step("conclude")
        compared = comparison.of(observation.description)
        total, parts = comparison.total(observation.own, compared)
        heatmap = cv2.resize(total, observation.size_hw[::-1])
        return Inspection(float(heatmap.max()), None, heatmap, heatmap > 1e9, (), None, "part", "drawn", 1.0, parts,
                          compared.partners, compared.closest, 0)  # fmt: skip

    def _step(self, stage):
        if stage == self._stage:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def inspect(photos: Path, out: Path, inspector: DrawnSet) -> list:
    """Inspect the pictures in `photos`, one at a time; their rows."""
    with ResultFolder(out, {"object": "part", "settings": inspector.describe()}) as folder:
        return list(
            inspect_set_into(folder, sorted(photos.iterdir()), [photos], inspector, "part", batch_size=1)
        )


def score(category: Path, out: Path) -> None:
    """Evaluate a category, perhaps with others of the group."""
    images = TestImages("cup", "cup", mvtec(category))
    with joined("cpu") as processes:
        evaluate(DrawnSet(), "folder", [images], out, Options(batch_size=1, save_maps=True), processes)


if __name__ == "__main__":
    what, source, target, *killed = sys.argv[1:]
    if what == "eval":
        score(Path(source), Path(target))
    else:
        inspect(Path(source), Path(target), DrawnSet(*killed[:1], *map(int, killed[1:])))
