"""ADE20k: what steered patches are worth for segmentation, by neighbours in a memory of labelled patches.

Two tasks. `classes`: all 151 classes at once, as open-hummingbird-eval does it, without text. `binary`: each class
against the rest, with the prompt "the <class>" (paper section 4; which pictures fill the memory is not published: ours
are drawn from those that show the class). Letters: N patches, D channels, K classes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image
from anomaly.steerability import patch_memory
from anomaly.steerability.ade20k_scenes import CLASSES, Scene, Scenes, gaps, load, read_mask
from anomaly.steerability.encoders import Transform
from anomaly.steerability.patch_memory import PatchMemory
from anomaly.steerability.steered import Steered

STD_TYPO = 0.225 / 0.255  # open-hummingbird divides blue by 0.255, where ImageNet's deviation is 0.225


@dataclass(frozen=True)
class MemorySettings:
    """How the memory is filled and asked. `size`: patches in all, an equal number from each picture.

    `pictures`: training pictures for a class of the binary task, 0 for all that show it. `augmented`: crops and colours
    of training pictures are drawn, as open-hummingbird does. `std_typo`: blue as that code normalises it.
    """

    size: int = 102_400
    pictures: int = 100
    neighbours: int = patch_memory.NEIGHBOURS
    beta: float = patch_memory.BETA
    augmented: bool = True
    std_typo: bool = False
    seed: int = 0


def evaluate_classes(
    scenes: Scenes,
    steered: Steered,
    settings: MemorySettings,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """mIoU over all 151 classes, those that are nowhere counting as 0. Pictures are encoded without text.

    `miou_matched` is what open-hummingbird prints, see `patch_memory.matched`.
    """
    counts = _Task(steered, None, settings, _Every(), device, progress)(scenes.training, scenes.validation)
    found = patch_memory.ious(counts)
    names = ("none of them", *scenes.names)
    total = {
        "miou": float(found.mean()),
        "miou_matched": float(patch_memory.ious(patch_memory.matched(counts)).mean()),
        "pictures": len(scenes.validation),
    }
    return {"global": total, "per_class": dict(zip(names, map(float, found), strict=True))}


def evaluate_binary(
    scenes: Scenes,
    steered: Steered,
    template: str | None,
    settings: MemorySettings,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Mean over classes of the IoU of "the <class>" against the rest, in the validation pictures that show it.

    `template` makes a sentence of a class, None encodes without text. Beside it the mean of both sides' IoU.
    Raises `SteerAnomalyError` where no class is in both parts.
    """
    training, validation = _by_class(scenes.training), _by_class(scenes.validation)
    per_class: dict[str, Any] = {}
    for number, name in enumerate(scenes.names, 1):
        if number not in training or number not in validation:
            continue
        prompt = None if template is None else template.replace("{object}", name)
        task = _Task(steered, prompt, settings, _OneClass(number), device)
        ious = patch_memory.ious(task(_chosen(training[number], settings), validation[number]))
        figures = {"iou": float(ious[1]), "miou": float(ious.mean()), "pictures": len(validation[number])}
        per_class[name] = {**figures, "prompt": prompt}
        progress(f"{name}: IoU {ious[1]:.4f} ({len(validation[number])} pictures)")
    if not per_class:
        raise SteerAnomalyError("expected a class in training and validation masks, found none")
    found = per_class.values()
    means = {f"binary_{key}": float(np.mean([one[key] for one in found])) for key in ("iou", "miou")}
    return {"global": {**means, "classes": len(per_class)}, "per_class": per_class}


def problems(root: Path) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: layout, counts, masks."""
    try:
        scenes = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    found = gaps(scenes)
    for image, mask in (*scenes.training, *scenes.validation):
        try:
            if read_image(image).shape[:2] != read_mask(mask).size[::-1]:
                found.append(f"{mask}: expected a mask as large as its picture")
        except SteerAnomalyError as error:
            found.append(str(error))
    return found


@dataclass(frozen=True)
class _Every:
    """Masks as they are."""

    classes: int = CLASSES

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        return mask


@dataclass(frozen=True)
class _OneClass:
    """Masks of one class, 1, against the rest, 0; what is not labelled stays so."""

    number: int
    classes: int = 2

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        return np.where(mask == 255, 255, mask == self.number).astype(np.uint8)


@dataclass(frozen=True)
class _Task:
    """One memory and the pictures that are segmented by it."""

    steered: Steered
    prompt: str | None
    settings: MemorySettings
    relabel: _Every | _OneClass
    device: str
    progress: Callable[[str], None] = lambda line: None

    def __call__(
        self, training: Sequence[tuple[Path, Path]], tests: Sequence[tuple[Path, Path]]
    ) -> np.ndarray:
        """The confusion (K, K) over all pixels of all `tests` at the model's size."""
        side = self.steered.encoder.image_size[0]
        seed = self.settings.seed if self.settings.augmented else None
        filled = [Scene(*pair, side, seed) for pair in training]
        counts = self._counts([Scene(*pair, side) for pair in tests], filled)
        if isinstance(self.relabel, _OneClass):  # 150 memories would fill a disk
            self.steered.forget(self._name(len(training)), self.prompt)
        return counts

    def _each(self, pictures: int) -> int:
        """How many patches of each picture enter the memory."""
        rows, columns = self.steered.encoder.grid_size
        return min(rows * columns, max(1, self.settings.size // pictures))

    def _name(self, pictures: int) -> str:
        return f"memory of {self._each(pictures)} patches, {self.relabel}, typo {self.settings.std_typo}"

    def _memory(self, scenes: Sequence[Scene]) -> PatchMemory:
        """Some patches of each picture and their labels, kept together in one row: D channels, then K shares."""
        grid, classes = self.steered.encoder.grid_size, self.relabel.classes

        def chosen(scene: Scene, patches: np.ndarray) -> np.ndarray:
            labels = patch_memory.soft_labels(self.relabel(scene.labels()), grid, classes)
            places = patch_memory.sampled(labels, self._each(len(scenes)), scene.key)
            return np.concatenate([patches[places], labels[places]], 1)

        encode, prepare = self.steered.encoder.dense_features, self._prepare()
        rows = self.steered.cached(self._name(len(scenes)), scenes, self.prompt, encode, prepare, chosen)
        flat = rows.reshape(-1, rows.shape[-1])
        settings = self.settings
        patches, labels = flat[:, :-classes], flat[:, -classes:]
        self.progress(f"memory: {len(patches)} patches of {len(scenes)} pictures")
        return PatchMemory(patches, labels, settings.neighbours, settings.beta, self.device)

    def _counts(self, scenes: Sequence[Scene], filled: Sequence[Scene]) -> np.ndarray:
        grid, classes = self.steered.encoder.grid_size, self.relabel.classes
        memories: list[PatchMemory] = []  # made when there is anything to ask it

        def counted(scene: Scene, patches: np.ndarray) -> list[list[int]]:
            true = self.relabel(scene.labels())
            found = patch_memory.predicted(memories[0].labels(patches), grid, (scene.side, scene.side))
            counts = patch_memory.confusion(true, found, classes)
            return [[int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)]

        about = {**vars(self.settings), "relabel": str(self.relabel), "training": [one.key for one in filled]}
        encode, prepare = self.steered.encoder.dense_features, self._prepare()
        lines = self.steered.noted(
            "ade20k",
            about,
            scenes,
            lambda _: self.prompt,
            encode,
            prepare,
            counted,
            lambda: memories.append(self._memory(filled)),
        )
        total = np.zeros((classes, classes), np.int64)
        for true, found, count in (entry for line in lines.values() for entry in line):
            total[true, found] += count
        return total

    def _prepare(self) -> Transform:
        prepare = self.steered.encoder.transform(whole=True)
        if not self.settings.std_typo:
            return prepare

        def with_typo(image: Image.Image) -> Tensor:
            pixels = prepare(image).clone()
            pixels[2] *= STD_TYPO
            return pixels

        return with_typo


def _chosen(pairs: Sequence[tuple[Path, Path]], settings: MemorySettings) -> list[tuple[Path, Path]]:
    if not settings.pictures or settings.pictures >= len(pairs):
        return list(pairs)
    return sorted(random.Random(settings.seed).sample(list(pairs), settings.pictures))


def _by_class(pairs: Sequence[tuple[Path, Path]]) -> dict[int, list[tuple[Path, Path]]]:
    shown: dict[int, list[tuple[Path, Path]]] = {}
    for pair in pairs:
        for number in np.unique(np.asarray(read_mask(pair[1]))):
            shown.setdefault(int(number), []).append(pair)
    return shown
