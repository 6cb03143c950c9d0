"""What stage one of a set keeps of each image, `observations/<name>.npz`, so that it is never made twice.

Knows nothing of models: an observation is arrays and a few numbers. Own maps stay float32, descriptions of patches
are halved to float16; stage two always reads them from here, so a run that was interrupted ends like one that was not.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from anomaly.decision.gate import Look
from anomaly.evidence.descriptions import Description
from anomaly.observation import Observation
from anomaly.runs.stamps import Stamp
from steervit.files import write_whole

_EVIDENCE, _TURNED = "evidence_", "turned_"


class Observations:
    """The observations below `folder`, by the name of their image; `stamp` tells whether it is still that image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, name: str) -> Path:
        """Where the observation of the image called `name` lies."""
        return self.folder / f"{name}.npz"

    def has(self, name: str, stamp: Stamp) -> bool:
        """Whether there is an observation of this image as it is now (its size and time of change)."""
        try:
            with np.load(self.path_of(name), allow_pickle=False) as found:
                return json.loads(str(found["meta"]))["stamp"] == list(stamp)
        except (OSError, ValueError, KeyError):
            return False

    def save(self, name: str, observation: Observation, stamp: Stamp) -> None:
        """Keep an observation, whole or not at all. Raises `OSError`."""
        described = observation.description
        meta = {
            "stamp": list(stamp),
            "size_hw": list(observation.size_hw),
            "seen_hw": list(observation.seen_hw),
            "object": observation.object,
            "milliseconds": observation.milliseconds,
            "content": described.content if described else None,
            "look": asdict(observation.look) if observation.look else None,
        }
        arrays = {"own": observation.own.astype(np.float32, copy=False), "meta": np.array(json.dumps(meta))}
        arrays |= {_EVIDENCE + part: values for part, values in observation.evidence.items()}
        if observation.part is not None:
            arrays["part"] = observation.part
        if described:
            arrays["patches"] = described.patches.astype(np.float16)
            arrays |= {f"{_TURNED}{i}": one.astype(np.float16) for i, one in enumerate(described.turned)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.path_of(name), buffer.getvalue())

    def load(self, name: str) -> Observation:
        """The observation of the image called `name`. Raises `OSError` when there is none."""
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
                description=_described(found, meta["content"]),
                look=Look(**meta["look"]) if meta.get("look") else None,
                part=found["part"] if "part" in found.files else None,
            )


def _described(found: np.lib.npyio.NpzFile, content: str | None) -> Description | None:
    if content is None:
        return None
    turned = tuple(found[key].astype(np.float32) for key in found if key.startswith(_TURNED))
    return Description(found["patches"].astype(np.float32), content, turned)
