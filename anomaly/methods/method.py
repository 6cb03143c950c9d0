"""What a baseline is given and what it gives: a picture and the part's name go in, a map comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from anomaly.prompts import PromptSet


@dataclass(frozen=True)
class Asked:
    """What a user asked for: which weights, where to run, and the prompts of methods that read text.

    `omega` is the weight of the text where a method has one.
    """

    prompts: PromptSet
    model: str = "nano"
    trunk: str | None = None
    text_encoder: str | None = None
    device: str | None = None
    omega: float = 1.0


@dataclass(frozen=True)
class Found:
    """`map` float32, higher is more anomalous, of any size and in any unit.

    It is enlarged to `seen_hw` (px), smoothed there, and brought to the picture's own size. `score` is the picture's;
    None for that of the finished map.
    """

    map: np.ndarray
    seen_hw: tuple[int, int]
    score: float | None = None


class Method(Protocol):
    """A baseline. `smooth`: sigma in px of `Found.seen_hw`. `peak`: a picture scores as its map's highest value.

    `needs_good`: it has to be `fitted` to good pictures first, and its figures are few-shot or full-shot ones.
    `prompt_set`: what it is asked with unless told otherwise; `weighs_text`: whether omega says anything to it.
    """

    name: str
    about: str
    needs_good: bool
    smooth: float
    peak: bool
    prompt_set: str
    weighs_text: bool

    def describe(self) -> dict[str, Any]:
        """Model, weights' hashes, and whatever else decides a map; JSON-able."""

    def find(self, image: np.ndarray, object: str) -> Found:
        """Look at one picture, RGB uint8 H x W x 3, of the part called `object`."""

    def fitted(self, images: Sequence[np.ndarray], object: str) -> Method:
        """The same method, knowing good pictures of the part. Raises `SteerAnomalyError` where it needs none."""
