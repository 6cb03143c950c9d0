"""The part of a training recipe that is nano's own: how windows are laid on rendered scenes. Numbers only."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from steervit.schema import STRICT, Positive, Share


@dataclass(frozen=True, config=STRICT)
class WindowSettings:
    """Steps that train on windows of rendered scenes, from features that the trunk's fixed filters gave once."""

    side: Positive = 16  # patches; a scene of fewer is taken whole
    sentences: Positive = 2  # per scene: one asks for every defect, the others for anything else
    at_defects: Share = 0.0  # share of the windows that are laid where a defect is, in scenes that have one
    feature_dropout: Share = 0.1  # share of the features that is silenced, per scene
    salience: Share = 0.0  # a scene is left out whose defects the fixed filters alone rank below this AUROC
