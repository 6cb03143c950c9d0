"""The three data sets of the paper's linear probe, read as they are published. Knows no features and no classifier."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomaly.errors import SteerAnomalyError
from anomaly.testsets.samples import images_in

IMAGEWOOF, WATERBIRDS, CARS = "imagewoof", "waterbirds", "stanford_cars"
PLACES = {
    IMAGEWOOF: "train/ and val/ with a folder n02... for each breed, as in imagewoof2-320.tgz",
    WATERBIRDS: "metadata.csv with img_filename, y, split, place, as in waterbird_complete95_forest2water2",
    CARS: "devkit/cars_train_annos.mat, cars_train/, cars_test/, cars_test_annos_withlabels.mat",
}
COUNTS = {IMAGEWOOF: (9025, 3929), WATERBIRDS: (4795, 5794), CARS: (8144, 8041)}  # training, test
GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with numbers of classes, 0 and up. `groups`: of each test picture, where a worst group is asked for."""

    name: str
    prompt: str
    classes: int
    train: tuple[tuple[Path, int], ...]
    test: tuple[tuple[Path, int], ...]
    groups: tuple[str, ...] = ()


def load(root: Path) -> list[LabelledSet]:
    """The sets that lie in `root` or a folder in it, in the paper's order.

    Raises `SteerAnomalyError` when there is none, and for files that are not as published.
    """
    if not root.is_dir():
        raise SteerAnomalyError(f"{root}: no such folder")
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    found = []
    for is_there, read in _READERS.values():
        place = next((path for path in places if is_there(path)), None)
        if place is not None:
            found.append(read(place))
    if not found:
        wanted = "\n".join(f"  {name}: {what}" for name, what in PLACES.items())
        raise SteerAnomalyError(f"expected in {root}, or in a folder of it, one of\n{wanted}")
    return found


def gaps(sets: Sequence[LabelledSet]) -> list[str]:
    """How this differs in size from the published sets, a sentence each; none for the whole of them."""
    there = {one.name: (len(one.train), len(one.test)) for one in sets}
    found = [f"{name} is missing" for name in COUNTS if name not in there]
    return found + [
        f"{name}: expected {COUNTS[name][0]} training and {COUNTS[name][1]} test pictures, found {came[0]} and "
        f"{came[1]}"
        for name, came in there.items()
        if came != COUNTS[name]
    ]


def _imagewoof(place: Path) -> LabelledSet:
    names = sorted(path.name for path in (place / "train").iterdir() if path.is_dir())
    train, test = (
        tuple((path, i) for i, name in enumerate(names) for path in images_in(place / part / name))
        for part in ("train", "val")
    )
    return _sound(LabelledSet(IMAGEWOOF, "the dog", len(names), train, test), place)


def _waterbirds(place: Path) -> LabelledSet:
    parts: dict[str, list[tuple[Path, int]]] = {"0": [], "1": [], "2": []}
    groups = []
    try:
        with (place / "metadata.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                label, where = int(row["y"]), int(row["place"])
                parts[row["split"]].append((place / row["img_filename"], label))
                if row["split"] == "2":
                    groups.append(GROUPS[2 * label + where])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SteerAnomalyError(
            f"{place / 'metadata.csv'}: expected the columns img_filename, y, split and place as published ({error!r})"
        ) from error
    train, test = tuple(parts["0"]), tuple(parts["2"])  # 1 is the validation split, which nothing here needs
    return _sound(LabelledSet(WATERBIRDS, "the bird", 2, train, test, tuple(groups)), place)


def _cars(place: Path) -> LabelledSet:
    labels = next((p for p in (place, place / "devkit") if (p / _CARS_TEST).is_file()), None)
    if labels is None:
        raise SteerAnomalyError(
            f"expected {_CARS_TEST} in {place} or {place / 'devkit'}: the devkit's own file has no classes of the test "
            "pictures"
        )
    train = _annotated(place / "devkit/cars_train_annos.mat", place / "cars_train")
    test = _annotated(labels / _CARS_TEST, place / "cars_test")
    classes = 1 + max(number for _, number in (*train, *test))
    return _sound(LabelledSet(CARS, "the car", classes, train, test), place)


def _annotated(path: Path, images: Path) -> tuple[tuple[Path, int], ...]:
    from scipy.io import loadmat

    try:
        entries = loadmat(path, squeeze_me=True)["annotations"]
        pairs = zip(entries["fname"].reshape(-1), entries["class"].reshape(-1), strict=True)
        return tuple((images / str(name), int(number) - 1) for name, number in pairs)
    except Exception as error:  # SciPy reports damage in a dozen ways
        raise SteerAnomalyError(
            f"{path}: expected annotations with fname and class as published ({error!r})"
        ) from error


def _sound(found: LabelledSet, place: Path) -> LabelledSet:
    for part, pairs in (("training", found.train), ("test", found.test)):
        if not pairs:
            raise SteerAnomalyError(f"{place}: expected {part} pictures of {found.name}, found none")
    return found


_CARS_TEST = "cars_test_annos_withlabels.mat"
_READERS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], LabelledSet]]] = {
    IMAGEWOOF: (lambda place: _holds_breeds(place / "train") and (place / "val").is_dir(), _imagewoof),
    WATERBIRDS: (lambda place: (place / "metadata.csv").is_file(), _waterbirds),
    CARS: (lambda place: (place / "devkit/cars_train_annos.mat").is_file(), _cars),
}


def _holds_breeds(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return bool(names) and all(re.fullmatch(r"n\d{8}", name) for name in names)
