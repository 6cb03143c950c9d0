"""PODS: tell one's own mug from other mugs, from three pictures of it (arXiv 2412.16156; paper section 4).

Reads the published folders and `pods_info.json` as they are. Knows nothing of how features are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.steerability.picture import Picture, of_file
from anomaly.steerability.ranking import ndcg, ranked, reciprocal_rank
from anomaly.steerability.steered import Steered
from anomaly.testsets.samples import images_in

INFO = "pods_info.json"
TRAIN_EACH, OBJECTS, TEST_OBJECTS = 3, 100, 70


@dataclass(frozen=True)
class Objects:
    """Pictures by object, and of each object the kind of thing it is; `measured` are those the figures are over."""

    train: dict[str, list[Path]]
    test: dict[str, list[Path]]
    kinds: dict[str, str]
    measured: list[str]


def load(root: Path) -> Objects:
    """`{train,test}/<object>/*.jpg` and `pods_info.json` in `root` or `root/pods`.

    Raises `SteerAnomalyError` when a file or folder is missing, or the table is not as published.
    """
    place = next((p for p in (root, root / "pods", root / "PODS") if (p / INFO).is_file()), None)
    if place is None:
        raise SteerAnomalyError(f"expected {INFO} in {root}, found none: unpack PODS there")
    try:
        info = json.loads((place / INFO).read_text(encoding="utf-8"))
        names, kinds, split = list(info["classes"]), info["class_to_sc"], info["class_to_split"]
        measured = [name for name in names if split[name] == "test"]
        kinds = {name: str(kinds[name]) for name in names}
    except (KeyError, TypeError, ValueError) as error:
        raise SteerAnomalyError(
            f"{place / INFO}: expected classes, class_to_sc and class_to_split of every class ({error!r})"
        ) from error
    train, test = ({name: images_in(place / part / name) for name in names} for part in ("train", "test"))
    for name in names:
        if not train[name] or not test[name]:
            raise SteerAnomalyError(f"expected pictures of {name} in {place / 'train'} and {place / 'test'}")
    return Objects(train, test, kinds, measured)


def coarse_prompts(objects: Objects) -> dict[str, str]:
    """The kind of thing alone, such as "the mug": the coarsest of the paper's three levels."""
    return {name: f"the {kind.replace('_', ' ')}" for name, kind in objects.kinds.items()}


def read_prompts(path: Path, objects: Objects) -> dict[str, str]:
    """A JSON or YAML table object -> sentence, for the finer levels; the paper's own sentences are not published.

    Raises `SteerAnomalyError` when the file cannot be read or leaves an object out that is measured.
    """
    from anomaly.errors import as_user_errors
    from steervit.schema import read_yaml

    with as_user_errors():
        table = {str(key): str(text) for key, text in read_yaml(path).items()}
    if missing := [name for name in objects.measured if name not in table]:
        raise SteerAnomalyError(f"{path}: expected a prompt for every test object, none for {missing[0]}")
    return table


def evaluate(
    objects: Objects,
    steered: Steered,
    prompts: Mapping[str, str] | None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Mean over the test objects of average precision, NDCG and MRR; and each object's own.

    Average precision: every test picture of every object, scored by its largest cosine to the object's training
    pictures. NDCG and MRR: each of its test pictures ranks all training pictures. Everything is encoded with the
    object's prompt (None: without text), so a picture is encoded once for each different prompt.
    """
    if not objects.measured:
        raise SteerAnomalyError(f"expected objects of the split test in {INFO}, found none")
    train, train_names = _listed(objects.train)
    test, test_names = _listed(objects.test)
    per_object: dict[str, Any] = {}
    for name in objects.measured:
        prompt = None if prompts is None else prompts[name]
        gallery, pictures = steered.features(train, prompt), steered.features(test, prompt)
        similarity = pictures @ gallery.T
        per_object[name] = {**_figures(similarity, train_names == name, test_names == name), "prompt": prompt}
        progress(f"{name}: AP {per_object[name]['average_precision']:.4f}")
    means = {
        metric: float(np.mean([one[metric] for one in per_object.values()]))
        for metric in ("average_precision", "ndcg", "mrr", "top10")
    }
    return {"global": {**means, "objects": len(per_object)}, "per_object": per_object}


def problems(root: Path) -> list[str]:
    """What is wrong with the data set in `root`, a sentence each: layout, counts, damaged pictures."""
    try:
        objects = load(root)
    except SteerAnomalyError as error:
        return [str(error)]
    found = gaps(objects)
    for path in (path for part in (objects.train, objects.test) for paths in part.values() for path in paths):
        try:
            of_file(path).read()
        except SteerAnomalyError as error:
            found.append(str(error))
    return found


def gaps(objects: Objects) -> list[str]:
    """How this differs in size from the published benchmark, a sentence each; none for the whole of it."""
    counts = ((OBJECTS, "objects", len(objects.kinds)), (TEST_OBJECTS, "test objects", len(objects.measured)))
    found = [f"expected {wanted} {what}, found {came}" for wanted, what, came in counts if wanted != came]
    return found + [
        f"{name}: expected {TRAIN_EACH} training pictures, found {len(paths)}"
        for name, paths in objects.train.items()
        if len(paths) != TRAIN_EACH
    ]


def _listed(pictures: Mapping[str, Sequence[Path]]) -> tuple[list[Picture], np.ndarray]:
    pairs = [(of_file(path), name) for name, paths in pictures.items() for path in paths]
    return [picture for picture, _ in pairs], np.array([name for _, name in pairs])


def _figures(similarity: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """`similarity` (test, train); which training and test pictures are of the object."""
    from sklearn.metrics import average_precision_score

    queries = similarity[test]
    return {
        "average_precision": float(average_precision_score(test, similarity[:, train].max(1))),
        "ndcg": float(np.mean([ndcg(one, train) for one in queries])),
        "mrr": float(np.mean([reciprocal_rank(one, train) for one in queries])),
        "top10": float(np.mean([ranked(one, train)[:10].any() for one in queries])),
    }
