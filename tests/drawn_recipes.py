"""The recipe `smoke` made tiny, for tests that draw and train on real rendered scenes in seconds."""

from __future__ import annotations

from pathlib import Path

TRAIN = Path(__file__).parent.parent / "train"
TINY_SCENES = [
    "model.resolution=64",
    "model.trunk_sizes={patch_size: 8, width: 16, depth: 3, heads: 2, mlp_ratio: 2.0}",
    "model.fusion=early",
    "model.gated_ffn=false",
    "model.cross_attn_layers=[1, 2]",
    "model.cross_attn_heads=2",
    "model.cross_attn_head_dim=8",
    "model.text_sizes={width: 16, layers: 1, heads: 2, vocabulary: 300, sentences: 60}",
    "data.workers=0",
    "data.windows.side=6",
    "data.sources={rendered: {size: 64, scenes: 12, stored: true}}",
    "train.kinds=0",
    "train.steps=4",
    "train.batch=4",
    "train.averaging=0.9",
    "train.validate_every=4",
    "train.validate_samples=4",
    "train.save_every=2",
    "train.log_every=1",
    "train.pictures=0",
]


def as_options(settings: list[str]) -> list[str]:
    """Settings as a user gives them to the command."""
    return [part for setting in settings for part in ("--set", setting)]
