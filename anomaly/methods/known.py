"""The baselines that there are. A new one is a file in this folder and a line here."""

from __future__ import annotations

from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.methods.clip import Clip, Siglip
from anomaly.methods.late_fusion import LateFusion, TrainedLateFusion
from anomaly.methods.mahalanobis import PixelMahalanobis
from anomaly.methods.maskclip import MaskClip
from anomaly.methods.median_colour import MedianColour
from anomaly.methods.method import Asked, Method
from anomaly.methods.padim import Padim
from anomaly.methods.patchcore import PatchCore
from anomaly.methods.text_pooling import TextPooling
from anomaly.methods.unsteered import TokenMahalanobis, Unsteered
from anomaly.methods.winclip import WinClip
from steervit.did_you_mean import unknown

KINDS = (
    MedianColour, PixelMahalanobis, TokenMahalanobis, Unsteered, LateFusion, TrainedLateFusion, TextPooling, Clip,
    Siglip, MaskClip, WinClip, PatchCore, Padim,
)  # fmt: skip


def names() -> list[str]:
    """All of them, those that need nothing first, those that need good pictures last."""
    return [kind.name for kind in KINDS]


def kind_of(name: str) -> Any:
    """The class of the method called `name`. Raises `SteerAnomalyError` naming the nearest ones."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise SteerAnomalyError(unknown("method", name, names()))


def open_method(name: str, asked: Asked) -> Method:
    """The method called `name`. Raises `SteerAnomalyError` for an unknown one and for files that are missing."""
    return kind_of(name)(asked)
