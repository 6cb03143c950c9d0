"""Turns rendered shards into what training nano reads: cached patch features, targets and sentences.

The filters of nano's patch embedding are fixed, so their output is computed once per scene and kept as
float16; the learned part starts after them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steervit.filters import patch_features
from steervit.training.rendering.shards import read_shard
from steervit.training.targets import patch_fractions


def cache_shard(shard: Path, out: Path, patch: int = 8, batch: int = 8) -> Path:
    """Compute the features and targets of one shard of scenes and write them to `out` (one .npz), atomically.

    features float16 (scenes, h*w, F); targets uint8 (sentences, h*w), covered fraction x 255; `scene` the
    scene of each sentence; texts and kinds as JSON.
    """
    target = out / f"{shard.stem}.features.npz"
    if target.exists():
        return target
    features, targets, scene_of, texts, kinds = [], [], [], [], []
    scenes = list(read_shard(shard))
    for start in range(0, len(scenes), batch):
        images = np.stack([scene.image for scene in scenes[start : start + batch]])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        features.append(patch_features(pixels, patch).half().numpy())
    for number, scene in enumerate(scenes):
        masks = torch.from_numpy(np.stack([sentence.mask for sentence in scene.sentences]))
        targets.append((patch_fractions(masks, patch) * 255).ceil().byte().numpy())
        scene_of += [number] * len(scene.sentences)
        texts += [sentence.text for sentence in scene.sentences]
        kinds += [sentence.kind for sentence in scene.sentences]
    temporary = target.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        features=np.concatenate(features),
        targets=np.concatenate(targets),
        scene=np.array(scene_of),
        words=np.frombuffer(json.dumps([texts, kinds]).encode(), np.uint8),
    )
    temporary.replace(target)
    return target


@dataclass
class SceneData:
    """Scenes in memory: features (n, h*w, F) float16; per sentence its scene, target, text and kind."""

    features: Tensor
    targets: Tensor
    scene: np.ndarray
    texts: list[str]
    kinds: np.ndarray

    @classmethod
    def load(cls, files: list[Path]) -> SceneData:
        """Read cached shards. Raises ValueError when there are none."""
        if not files:
            raise ValueError("expected cached shards of scenes, got none; render and cache some first")
        features, targets, scene, texts, kinds = [], [], [], [], []
        count = 0
        for file in files:
            with np.load(file) as shard:
                features.append(torch.from_numpy(shard["features"]))
                targets.append(torch.from_numpy(shard["targets"]))
                scene.append(shard["scene"] + count)
                words = json.loads(shard["words"].tobytes())
            texts += words[0]
            kinds += words[1]
            count += len(features[-1])
        return cls(torch.cat(features), torch.cat(targets), np.concatenate(scene), texts, np.array(kinds))

    def sentences_of(self) -> list[np.ndarray]:
        """Indices of the sentences of each scene."""
        order = np.argsort(self.scene, kind="stable")
        bounds = np.searchsorted(self.scene[order], np.arange(len(self.features) + 1))
        return [order[a:b] for a, b in pairwise(bounds)]
