"""What stage one of a set keeps of each image, `observations/<name>.npz`, so that it is never made twice.

Knows nothing of models: an observation is arrays and a few numbers. Own maps stay float32; descriptions of patches are
halved to float16 and lie where comparing reads them, once for all copies of a picture. Stages two and three always read
them from there, so a run that was interrupted ends like one that was not.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly.comparison import add_to
from anomaly.decision.gate import Look
from anomaly.evidence.descriptions import Unread
from anomaly.observation import Observation
from anomaly.pictures.encode import to_png
from anomaly.pictures.images import as_rgb
from anomaly.runs.stamps import Stamp
from steervit.files import write_whole

_EVIDENCE = "evidence_"


class Observations:
    """The observations below `folder`, by the name of their image; `stamp` tells whether it is still that image.

    `described_by` is the hash of how patches are described (`Inspector.description_hash`). Turned descriptions, which
    only references have, are not kept.
    """

    def __init__(self, folder: Path, described_by: str) -> None:
        # It needs safetensors, which judging pictures alone may do without.
        from anomaly.evidence.mutual_store import FeatureStore

        self.folder, self.compared = folder, folder / "compared"
        self.features = FeatureStore(self.compared, described_by)

    def path_of(self, name: str) -> Path:
        """Where the observation of the image called `name` lies."""
        return self.folder / f"{name}.npz"

    def has(self, name: str, stamp: Stamp) -> bool:
        """Whether there is an observation of this image as it is now (its size and time of change)."""
        try:
            with np.load(self.path_of(name), allow_pickle=False) as found:
                meta = json.loads(str(found["meta"]))
            return meta["stamp"] == list(stamp) and (not meta["content"] or meta["content"] in self.features)
        except (OSError, ValueError, KeyError):
            return False

    def save(self, name: str, observation: Observation, stamp: Stamp) -> None:
        """Keep an observation, whole or not at all. Raises `OSError`, `SteerAnomalyError` as `FeatureStore.add`."""
        described = observation.description
        if described:
            add_to(self.features, observation)  # first: what has an observation can be compared
        meta = {
            "stamp": list(stamp),
            "size_hw": list(observation.size_hw),
            "seen_hw": list(observation.seen_hw),
            "object": observation.object,
            "milliseconds": observation.milliseconds,
            "content": described.content if described else None,
            "grid": list(described.grid) if described else None,
            "look": asdict(observation.look) if observation.look else None,
        }
        arrays = {"own": observation.own.astype(np.float32, copy=False), "meta": np.array(json.dumps(meta))}
        arrays |= {_EVIDENCE + part: values for part, values in observation.evidence.items()}
        if observation.part is not None:
            arrays["part"] = observation.part
        if observation.picture is not None:
            arrays["picture"] = np.frombuffer(to_png(observation.picture), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.path_of(name), buffer.getvalue())

    def load(self, name: str) -> Observation:
        """The observation of the image called `name`; patches are read when asked for. Raises `OSError` when there
        is none."""
        with np.load(self.path_of(name), allow_pickle=False) as found:
            meta = json.loads(str(found["meta"]))
            evidence = {key.removeprefix(_EVIDENCE): found[key] for key in found if key.startswith(_EVIDENCE)}
            return Observation(
                own=found["own"],
                size_hw=tuple(meta["size_hw"]),
                seen_hw=tuple(meta["seen_hw"]),
                object=meta["object"],
                evidence=evidence,
                milliseconds=meta["milliseconds"],
                description=self._described(meta["content"], meta["grid"]) if meta["content"] else None,
                look=Look(**meta["look"]) if meta.get("look") else None,
                part=found["part"] if "part" in found.files else None,
                picture=as_rgb(Image.open(io.BytesIO(found["picture"])))
                if "picture" in found.files
                else None,
            )

    def _described(self, content: str, grid: list[int]) -> Unread:
        def read() -> np.ndarray:
            (patches,) = self.features.layers(content)
            return patches.astype(np.float32).reshape(*grid, -1)

        return Unread(read, (grid[0], grid[1]), content)
