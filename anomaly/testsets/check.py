"""Finds what is wrong with a test set before hours go into it: masks, duplicates, damaged files, counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from anomaly.errors import SteerAnomalyError
from anomaly.testsets.cards import Card, load, names
from anomaly.testsets.folder_layout import folder_categories, folder_samples
from anomaly.testsets.layouts import find_samples, present_categories
from anomaly.testsets.samples import Sample, is_image, missing_files, read_mask
from steervit.files import sha256_of


@dataclass(frozen=True)
class Problem:
    """`kind` is one of missing, unreadable, mask, duplicate, count, layout; `message` names the file."""

    kind: str
    category: str
    message: str


def guess_card(root: Path) -> Card | None:
    """The benchmark that `root` holds more than half of the categories of, or None for a plain folder."""
    for card in map(load, names()):
        present = [c for c in card.categories if c.folder != "." and (root / c.name).is_dir()]
        if len(present) > len(card.categories) / 2 and not _is_other_layout(card, root, present[0].name):
            return card
    return None


def check(root: Path, card: Card | None, progress: Callable[[Path], None] | None = None) -> list[Problem]:
    """Every problem of every category below `root`. Reads all test images and masks.

    Raises `SteerAnomalyError` only when `root` is no test set at all.
    """
    problems: list[Problem] = []
    for category, samples in _categories(root, card, problems):
        problems += _check_category(category, samples, progress or (lambda path: None))
        if card is not None:
            problems += _check_counts(card, category, samples)
    return problems


def _categories(root: Path, card: Card | None, problems: list[Problem]) -> Iterable[tuple[str, list[Sample]]]:
    folders = folder_categories(root) if card is None else {}
    for name in folders if card is None else present_categories(card, root):
        try:
            yield name, folder_samples(folders[name]) if card is None else find_samples(card, root, name)
        except SteerAnomalyError as error:
            problems.append(Problem("layout", name, str(error)))
    if card is not None:
        absent = [c.name for c in card.categories if c.name not in present_categories(card, root)]
        problems += [Problem("count", name, f"{root / name}: category missing") for name in absent]


def _check_category(category: str, samples: list[Sample], progress: Callable[[Path], None]) -> list[Problem]:
    problems = [Problem("missing", category, f"{p}: not found") for p in missing_files(samples)]
    for sample in samples:
        progress(sample.image)
        problems += _check_sample(category, sample)
    return problems + _duplicates(category, samples)


def _check_sample(category: str, sample: Sample) -> list[Problem]:
    from anomaly.pictures.images import ImageError, read_image

    if not all(p.is_file() for p in (sample.image, *sample.masks)):
        return []
    try:
        size_hw = read_image(sample.image).shape[:2]
    except ImageError as error:
        return [Problem("unreadable", category, str(error))]
    try:
        read_mask(sample, size_hw)
    except SteerAnomalyError as error:
        return [Problem("mask", category, str(error))]
    return []


def _duplicates(category: str, samples: list[Sample]) -> list[Problem]:
    """Images equal byte for byte: within the test set, or between it and the category's training images."""
    test = [s.image for s in samples if s.image.is_file()]
    same: dict[tuple[int, str], list[Path]] = defaultdict(list)
    paths = [*test, *_training_images(test)]
    sizes = Counter(p.stat().st_size for p in paths)
    for path in paths:
        if sizes[size := path.stat().st_size] > 1:
            same[size, sha256_of(path)].append(path)
    return [
        Problem("duplicate", category, f"{first}: the same file as {', '.join(map(str, others))}")
        for first, *others in same.values()
        if others
    ]


def _training_images(test: list[Path]) -> list[Path]:
    folders = {p.parent.parent.parent / "train" for p in test if p.parent.parent.name.startswith("test")}
    return sorted(p for folder in folders if folder.is_dir() for p in folder.rglob("*") if is_image(p))


def _check_counts(card: Card, category: str, samples: list[Sample]) -> list[Problem]:
    wanted = card.category(category)
    good = sum(s.defective is False for s in samples)
    found = (good, len(samples) - good)
    if None in (wanted.good, wanted.defective) or found == (wanted.good, wanted.defective):
        return []
    return [
        Problem(
            "count",
            category,
            f"expected {wanted.good} good and {wanted.defective} defective test images, "
            f"found {found[0]} and {found[1]}",
        )
    ]


def _is_other_layout(card: Card, root: Path, category: str) -> bool:
    """Whether `root` has the card's folder names but another layout inside (a converted copy)."""
    try:
        find_samples(card, root, category)
    except SteerAnomalyError:
        return True
    return False
