"""Rendered scenes as nano trains on them: what its fixed filters see, cached on disk, and mapped from there.

The filters of the patch embedding do not learn, so their output is computed once per scene and kept as
float16; the learned part starts after them. Which filters these are is the model's business.
Letters: h x w patches, F features of a patch.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from steervit.files import write_whole
from steervit.nano.filters import oddness, standard_scores
from steervit.nano.scenes.shards import StoredScene, read_shard
from steervit.training.data.augment import squash
from steervit.training.data.sources.rendered import shard_hash
from steervit.training.data.workers import run_all
from steervit.training.losses import patch_fractions

log = logging.getLogger(__name__)
AT_ONCE = 8  # images filtered together
WIDE = 0.1  # share of patches with a defect from which it cannot be odd: it is what much of the image is
DEFECT = 0.15  # covered fraction from which a patch counts as one of a defect
SAME = 0.005  # mean difference of features kept as float16 to the same ones computed again


@dataclass(frozen=True)
class Sentence:
    """A sentence of a scene, its kind as the renderer calls it ("all": every defect), its row of targets, and the
    kind of defect that it asks for, there or not."""

    text: str
    kind: str
    row: int
    names: str = ""


@dataclass(frozen=True)
class FeatureCache:
    """Fills files with the features of shards' scenes, in any process.

    `embed` is a patch embedding with `features(images (B, 3, S, S) in 0..1) -> (B, h*w, F)` and a
    `patch_size`; images are resized to `size` pixels.
    """

    embed: nn.Module
    size: int
    folder: Path

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        embed: Any = self.embed
        return embed.patch_size[0]

    def file(self, shard: Path) -> Path:
        """Where the features of `shard` are kept."""
        return self.folder / f"{shard_hash(shard)}-{self.size}-{self.patch}.safetensors"

    def __call__(self, shard: Path) -> None:
        """Compute the features and targets of one shard and write them whole.

        features (scenes, h, w, F) float16; targets (sentences, h, w) uint8, the covered fraction x 255; salience
        (scenes,) float32, the AUROC of their oddness for the patches of any defect, NaN without one and for wide ones.
        """
        features: list[Tensor] = []
        targets: list[Tensor] = []
        said: list[list[list[Any]]] = []
        scenes = list(read_shard(shard))
        grid = self.size // self.patch
        for start in range(0, len(scenes), AT_ONCE):
            images = [self._image(scene) for scene in scenes[start : start + AT_ONCE]]
            features.append(self._features(images).unflatten(1, (grid, grid)).half())
        for scene in scenes:
            first = len(targets)
            targets += [self._target(scene, sentence.mask) for sentence in scene.sentences]
            said.append([[s.text, s.kind, first + i, s.names] for i, s in enumerate(scene.sentences)])
        kept = torch.cat(features)
        everything = [targets[one[0][2]] for one in said]  # the first sentence asks for all defects
        salience = [_salience(*pair) for pair in zip(kept, everything, strict=True)]
        tensors = {"features": kept, "targets": torch.stack(targets), "salience": torch.tensor(salience)}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.file(shard), lambda to: save_file(tensors, to, {"sentences": json.dumps(said)}))

    def holds(self, shard: Path) -> bool:
        """Whether the features of `shard` are there, and are those that the filters give now."""
        path = self.file(shard)
        if not path.exists():
            return False
        scene = next(iter(read_shard(shard)))
        now = self._features([self._image(scene)])[0]
        try:
            with safe_open(path, "pt") as file:
                kept = file.get_slice("features")[0].flatten(0, 1).float()
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s): its features are computed again", path, error)
            return False
        return kept.shape == now.shape and bool((kept - now).abs().mean() <= SAME)

    @torch.no_grad()
    def _features(self, images: Sequence[np.ndarray]) -> Tensor:
        embed: Any = self.embed
        return embed.features(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255)

    def _image(self, scene: StoredScene) -> np.ndarray:
        return squash(scene.image, np.zeros(scene.image.shape[:2], bool), self.size)[0]

    def _target(self, scene: StoredScene, mask: np.ndarray) -> Tensor:
        resized = torch.from_numpy(squash(scene.image, mask, self.size)[1])
        fractions = patch_fractions(resized[None], self.patch)[0]
        grid = self.size // self.patch
        return (fractions * 255).ceil().byte().view(grid, grid)  # a touched patch stays above 0


def _salience(features: Tensor, target: Tensor) -> float:
    defects = (target > DEFECT * 255).flatten().numpy()
    if defects.mean() > WIDE or not defects.any():
        return float("nan")
    return float(roc_auc_score(defects, standard_scores(oddness(features.flatten(0, 1))).numpy()))


class CachedScenes:
    """The scenes of shards by number. Only file names are held, so that other processes can be given it.

    Left out are scenes whose defects, not being wide, stand out less than `salience`: photographs of parts that are
    worth a label show their defects more clearly than a renderer does. Raises ValueError when no scene is left.
    """

    def __init__(
        self, cache: FeatureCache, shards: Sequence[Path], processes: int = 1, salience: float = 0.0
    ) -> None:
        missing = [shard for shard in shards if not cache.holds(shard)]
        run_all(cache, missing, processes, f"caching features of {len(missing)} shards")
        paths = [cache.file(shard) for shard in shards]
        self._files = [(path, path.stat().st_mtime_ns) for path in paths]
        self._places = [
            (number, row)
            for number, file in enumerate(self._files)
            for row, found in enumerate(_opened(*file)[0].get_tensor("salience").tolist())
            if not found < salience  # a scene without defects has none to hide
        ]
        if not self._places:
            raise ValueError(f"expected scenes with a salience of {salience} or more, found none: lower it")

    def __len__(self) -> int:
        return len(self._places)

    def sentences(self, index: int) -> list[Sentence]:
        """What is said of scene `index`, sentences on all its defects first."""
        file, row = self._place(index)
        return [Sentence(*one) for one in _opened(*file)[1][row]]

    def features(self, index: int, rows: slice = slice(None), columns: slice = slice(None)) -> Tensor:
        """Features of a rectangle of patches of scene `index`, (h, w, F) float32."""
        file, row = self._place(index)
        return _opened(*file)[0].get_slice("features")[row, rows, columns].float()

    def target(
        self, index: int, sentence: Sentence, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Tensor:
        """What part of each patch of a rectangle the sentence's mask covers, (h, w) float32, 0..1."""
        file, _ = self._place(index)
        return _opened(*file)[0].get_slice("targets")[sentence.row, rows, columns].float() / 255

    def _place(self, index: int) -> tuple[tuple[Path, int], int]:
        number, row = self._places[index]
        return self._files[number], row


@functools.cache
def _opened(path: Path, written: int) -> tuple[Any, list[list[list[Any]]]]:
    """The mapped file as it was `written` (its time, ns: one that is written anew is mapped anew), and by scene
    its sentences."""
    file = safe_open(path, "pt")
    return file, json.loads(file.metadata()["sentences"])
