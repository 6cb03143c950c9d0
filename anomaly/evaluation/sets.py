"""From what was typed (a benchmark or a folder, some categories) to the test images of each category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.labelled import TestImages
from anomaly.testsets.cards import Card
from anomaly.testsets.folder_layout import folder_categories, folder_samples, without_mask
from anomaly.testsets.layouts import find_good, find_samples, present_categories, train_good
from anomaly.testsets.samples import require_files


def benchmark_categories(
    card: Card, root: Path, names: Sequence[str] = (), object_name: str | None = None, split: str = "public"
) -> list[TestImages]:
    """The categories called `names`, or all that lie below `root`, in the card's order.

    Raises `SteerAnomalyError` for an unknown category, a wrong root, or a missing image or mask.
    """
    wanted = list(dict.fromkeys(card.category(name).name for name in names))
    found = []
    for name in wanted or present_categories(card, root):
        category = card.category(name)
        samples = find_samples(card, root, name, split)
        require_files(samples)
        pool = tuple(find_good(card, root, name))
        found.append(TestImages(name, object_name or category.object, samples, category.group, pool=pool))
    return found


def folder_test_sets(
    root: Path, names: Sequence[str] = (), object_name: str | None = None
) -> list[TestImages]:
    """The test sets in the user's folder. The part is called as its folder is, `_` read as a space.

    Raises `SteerAnomalyError` when there is none, when a name in `names` is not among them, or when a mask is
    missing.
    """
    folders = folder_categories(root)
    if unknown := [name for name in names if name not in folders]:
        raise SteerAnomalyError(f"no category {unknown[0]!r} in {root}; there are: {', '.join(folders)}")
    found = []
    for name in names or folders:
        samples = folder_samples(folders[name])
        require_files(samples)
        called = object_name or name.replace("_", " ")
        note, pool = without_mask(folders[name]), tuple(train_good(folders[name]))
        found.append(TestImages(name, called, samples, note=note, pool=pool))
    return found
