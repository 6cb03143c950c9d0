"""Everything that decides a score, in one frozen object with a hash. What was measured belongs to that hash.

Device, threads and batch size are not here: they change no score beyond rounding.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

ENSEMBLES = (None, "fused", "cascade")
SUMMED = 2  # the way in which own map and company become one (`comparison`): other ways, other scores
UNHASHED = ("model",)  # a name; the weights' hashes say which model it is


@dataclass(frozen=True)
class InspectionSettings:
    """How images are scored.

    `model` is a name, `hashes` the SHA-256 of each of its files by part. `prompts` and `contrast` hold `{object}`.
    `omega` scales the text's influence; `activation`, `smooth` (px of the model's image) and `scales` make the
    heatmap; `guided` is the half side, in the same px, of the windows in which it follows the picture, None for a map
    that does not (`anomaly.guided`); `self_similarity` and `dark_lines` are weights in logits per z-score; `image_size`
    is height and width in px; `company` says what else a picture is compared with, None when it is judged alone;
    `roi` and `ignore` which pixels count and which do not, None for all and for none (see `roi.Roi.name`). `ensemble`
    says how the prompts share their passes: None exactly, "fused" as one, "cascade" one by one where that map is
    highest (`steervit.inference.ensemble.PromptBank`).
    """

    model: str
    hashes: tuple[tuple[str, str], ...]
    image_size: tuple[int, int]
    prompts: tuple[str, ...]
    contrast: tuple[str, ...]
    omega: float
    activation: str
    smooth: float
    scales: str
    self_similarity: float
    dark_lines: float
    precision: str
    company: str | None = None
    roi: str | None = None
    ignore: str | None = None
    ensemble: str | None = None
    guided: float | None = None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every field that decides a score, in hex. Fields that are None do not count."""
        kept = {
            name: value
            for name, value in self.to_dict().items()
            if name not in UNHASHED and value is not None
        }
        kept |= {"summed": SUMMED} if self.company is not None else {}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON-able values; `from_dict` takes them back."""
        return asdict(self) | {
            "hashes": dict(self.hashes), "image_size": list(self.image_size),
            "prompts": list(self.prompts), "contrast": list(self.contrast),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InspectionSettings:
        """The inverse of `to_dict`. Raises `TypeError` or `ValueError` for what it did not write."""
        lists = {name: tuple(values[name]) for name in ("image_size", "prompts", "contrast")}
        return cls(**values | lists | {"hashes": tuple(sorted(values["hashes"].items()))})

    @classmethod
    def from_run(cls, values: dict[str, Any]) -> InspectionSettings:
        """From what `Inspector.describe` gave a run, which says more. Raises as `from_dict`, `KeyError` for less."""
        return cls.from_dict({field.name: values.get(field.name) for field in fields(cls)})

    def differing(self, other: InspectionSettings) -> list[str]:
        """Names of the fields that decide a score and are not the same in both."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if name not in UNHASHED and mine[name] != theirs[name]]
