"""RefCOCOg: does the model find what a sentence points out (paper: 70.6)?

What the paper's figure is of is not published; ours are several, each by its name. Sentences and masks are read by the
training sources' reader. Knows nothing of how maps are made. Letters: h x w patches, H x W the picture's own pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from anomaly.errors import SteerAnomalyError, as_user_errors
from anomaly.steerability.steered import Steered

if TYPE_CHECKING:
    from steervit.training.data.records import Record

COUNTS = {"test": 9602, "validation": 4896}  # sentences, umd
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # of a map scaled to 0..1


@dataclass(frozen=True)
class Sentence:
    """A sentence about something in a picture, and where that is."""

    number: int
    record: Record

    @property
    def key(self) -> str:
        """Follows from its number, words and picture."""
        return hashlib.sha256(f"{self.number} {self.record.image_id} {self.text}".encode()).hexdigest()

    @property
    def text(self) -> str:
        """What it says."""
        return self.record.expression

    def read(self) -> Image.Image:
        """The picture, RGB, as it is stored. Raises `SteerAnomalyError`."""
        with as_user_errors():
            return Image.fromarray(self.record.load_image())

    def mask(self) -> np.ndarray:
        """Bool (H, W). Raises `SteerAnomalyError`."""
        with as_user_errors():
            return self.record.load()[1]


def load(
    root: Path, images: Path | None = None, split: str = "test", dataset: str = "refcocog"
) -> tuple[list[Sentence], list[str]]:
    """The sentences of a split in `root/refcocog`, and how they differ from the published benchmark, in sentences.

    `images` holds train2014. Raises `SteerAnomalyError` when files are missing or hold no such split.
    """
    from steervit.training.data.sources import refcoco

    with as_user_errors():
        records = refcoco.read(root, split, dataset=dataset, images=images)
    found = [Sentence(number, record) for number, record in enumerate(records)]
    gaps = [] if records.missing.complete else [str(records.missing)]
    wanted = COUNTS.get(split) if dataset == "refcocog" else None
    if wanted not in (None, len(found)):
        gaps.append(f"expected {wanted} sentences in the split {split}, found {len(found)}")
    return found, gaps


def evaluate(
    sentences: Sequence[Sentence],
    steered: Steered,
    with_text: bool = True,
    level: float = 0.5,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Means over sentences: `miou` and, over all pixels at once, `oiou`, of maps scaled to 0..1 and cut at `level`.

    `pmass`, the softmax mass on patches that touch the mask; `pointing`, how often the map's peak lies in it;
    `average_precision` over pixels; `miou_best` at the level that is best for all, which no user knows.
    """
    if level not in LEVELS:
        raise SteerAnomalyError(f"expected a level among {', '.join(map(str, LEVELS))}, got {level}")
    texts: Callable[[Sentence], str | None] = (lambda one: one.text) if with_text else (lambda one: None)
    encoder = steered.encoder
    prepare = encoder.transform(whole=True)
    lines = steered.noted("refcocog", {}, sentences, texts, encoder.logits, prepare, _measured)
    found = list(lines.values())
    progress(f"{len(found)} sentences")
    both, either = (np.array([one[name] for one in found], np.int64) for name in ("both", "either"))
    ious = both / np.maximum(either, 1)  # (sentences, levels)
    place, best = LEVELS.index(level), int(ious.mean(0).argmax())
    means = {key: _mean(found, key) for key in ("pmass", "pointing", "average_precision")}
    total = {
        "miou": float(ious[:, place].mean()),
        "oiou": float(both[:, place].sum() / max(1, either[:, place].sum())),
        **means,
        "miou_best": float(ious[:, best].mean()),
        "sentences": len(found),
    }
    return {"global": total, "level": level, "best_level": LEVELS[best]}


def problems(root: Path) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: files, pictures, masks."""
    try:
        found, gaps = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    for one in found:
        try:
            one.mask()
        except SteerAnomalyError as error:
            gaps.append(str(error))
    return gaps


def _measured(one: Sentence, logits: np.ndarray) -> dict[str, Any]:
    """The figures of one sentence from its map of logits (h, w)."""
    from sklearn.metrics import average_precision_score

    mask = one.mask()
    shares = cv2.resize(mask.astype(np.float32), logits.shape[::-1], interpolation=cv2.INTER_AREA)
    mass = np.exp(logits - logits.max())
    large = cv2.resize(mass / mass.sum(), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    scaled = (large - large.min()) / max(float(large.max() - large.min()), 1e-12)
    cut = [scaled >= level for level in LEVELS]
    return {
        "pmass": float(mass[shares > 0].sum() / mass.sum()),
        "pointing": float(mask.flat[int(large.argmax())]),
        "average_precision": float(average_precision_score(mask.ravel(), large.ravel())),
        "both": [int((one & mask).sum()) for one in cut],
        "either": [int((one | mask).sum()) for one in cut],
    }


def _mean(found: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([one[key] for one in found]))
