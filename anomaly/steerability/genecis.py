"""GeneCIS, focus on an object: find the one of 15 pictures that shares the named object (CVPR 2023; paper section 4).

Reads `focus_object.json` and COCO val2017 as they are. Knows nothing of how features are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.steerability.picture import of_file
from anomaly.steerability.ranking import ranked
from anomaly.steerability.steered import Steered

FILE = "focus_object.json"
QUESTIONS, GALLERY = 1960, 15
KS = (1, 2, 3)


@dataclass(frozen=True)
class Question:
    """A reference picture, the object to look at, and the gallery: the target first, then the others."""

    condition: str
    reference: Path
    gallery: tuple[Path, ...]


def load(root: Path, images: Path | None = None) -> list[Question]:
    """The questions of `focus_object.json` in `root` or `root/genecis`; pictures in `images`, or `root/val2017`.

    Raises `SteerAnomalyError` when the file is missing or not as published.
    """
    place = next((p for p in (root / FILE, root / "genecis" / FILE) if p.is_file()), None)
    if place is None:
        raise SteerAnomalyError(
            f"expected {FILE} in {root} or {root / 'genecis'}: it is in the GeneCIS repository"
        )
    folder = images or next((p for p in (root / "val2017", root / "images") if p.is_dir()), root)
    try:
        entries = json.loads(place.read_text(encoding="utf-8"))
        return [_question(entry, folder) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise SteerAnomalyError(
            f"{place}: expected a list of condition, gallery, reference and target as published, got another "
            f"({type(error).__name__}: {error})"
        ) from error


def evaluate(
    questions: Sequence[Question],
    steered: Steered,
    template: str | None = "the {condition}",
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """R@1, 2, 3 over all questions, by dot product of L2-normalised features; and per condition.

    Every picture of a question is encoded with its condition as prompt; `template` (whose wording the paper does not
    publish) makes a sentence of it, None encodes without text. Raises `SteerAnomalyError` for no question.
    """
    if not questions:
        raise SteerAnomalyError(f"expected questions in {FILE}, found none")
    every: list[int] = []
    per_condition: dict[str, Any] = {}
    for condition in sorted({one.condition for one in questions}):
        asked = [one for one in questions if one.condition == condition]
        prompt = None if template is None else template.replace("{condition}", condition)
        ranks = _ranks(asked, steered, prompt)
        per_condition[condition] = {**_recalls(ranks), "questions": len(ranks), "prompt": prompt}
        progress(f"{condition}: R@1 {per_condition[condition]['recall@1']:.4f} ({len(ranks)} questions)")
        every += ranks
    return {"global": {**_recalls(every), "questions": len(every)}, "per_condition": per_condition}


def problems(root: Path, images: Path | None = None) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: layout, counts, missing pictures."""
    try:
        questions = load(root, images)
    except SteerAnomalyError as error:
        return [str(error)]
    found = gaps(questions)
    paths = sorted({path for one in questions for path in (one.reference, *one.gallery)})
    return found + [f"{path}: not found" for path in paths if not path.is_file()]


def gaps(questions: Sequence[Question]) -> list[str]:
    """How this differs in size from the published benchmark, a sentence each; none for the whole of it."""
    found = [] if len(questions) == QUESTIONS else [f"expected {QUESTIONS} questions, found {len(questions)}"]
    odd = [i for i, one in enumerate(questions) if len(one.gallery) != GALLERY]
    return found + [f"question {i}: expected 15 pictures in the gallery" for i in odd]


def _ranks(questions: Sequence[Question], steered: Steered, prompt: str | None) -> list[int]:
    """Of each question the place of its target, from 0."""
    paths = sorted({path for one in questions for path in (one.reference, *one.gallery)})
    features = dict(zip(paths, steered.features([of_file(path) for path in paths], prompt), strict=True))
    ranks = []
    for one in questions:
        similarity = np.array([features[path] @ features[one.reference] for path in one.gallery])
        is_target = np.arange(len(one.gallery)) == 0
        ranks.append(int(np.argmax(ranked(similarity, is_target))))
    return ranks


def _recalls(ranks: Sequence[int]) -> dict[str, float]:
    return {f"recall@{k}": float(np.mean(np.array(ranks) < k)) for k in KS}


def _question(entry: dict[str, Any], folder: Path) -> Question:
    gallery = (entry["target"], *entry["gallery"])
    paths = tuple(_path(one, folder) for one in gallery)
    return Question(str(entry["condition"]), _path(entry["reference"], folder), paths)


def _path(entry: dict[str, Any], folder: Path) -> Path:
    return folder / f"{int(entry['val_image_id']):012d}.jpg"
