"""Benchmark layouts: turn a root folder and a card's category into the list of its test images.

Each layout is one function. It looks at names only, never into images, and says what it expected where.
Folders that are no benchmark are `anomaly.testsets.folder_layout`'s business.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.suffixes import IMAGE_SUFFIXES
from anomaly.testsets.cards import Card, Category
from anomaly.testsets.samples import Sample, images_in, is_image, with_distinct_keys

GOOD_NAMES = ("good", "ok", "normal")
AD2_SPLITS = {"public": "test_public", "private": "test_private", "private_mixed": "test_private_mixed"}


def find_samples(card: Card, root: Path, category: str, split: str = "public") -> list[Sample]:
    """The test images of one category, in the order of their keys' folders and names.

    `split` is one of `AD2_SPLITS` and matters to MVTec AD 2 only. Raises `SteerAnomalyError` saying what was
    expected where, when the root is wrong or the category unknown. A missing mask is listed where it should
    lie; `anomaly.testsets.samples.require_files` refuses it.
    """
    wanted = card.category(category)
    folder = _category_folder(card, root, wanted)
    if card.layout == "visa":
        return visa(root, wanted.name)
    if card.layout == "mvtec-ad-2":
        return mvtec_ad_2(folder, split)
    if card.layout == "pairs":
        return pairs(folder, card.image_folder)
    return mvtec(folder)


def find_good(card: Card, root: Path, category: str) -> list[Path]:
    """The good images of one category that its makers meant for training; none where the layout has none."""
    wanted = card.category(category)
    if card.layout == "visa":
        table = root / "split_csv" / "1cls.csv"
        rows = [row for row in _rows(table) if row["object"] == wanted.name and row["split"] == "train"]
        return [root / row["image"] for row in rows if row["label"] == "normal"]
    return [] if card.layout == "pairs" else train_good(_category_folder(card, root, wanted))


def train_good(folder: Path) -> list[Path]:
    """The good images for training in a folder of MVTec's layout."""
    return images_in(folder / "train" / "good")


def present_categories(card: Card, root: Path) -> list[str]:
    """The card's categories whose folder lies below `root`. Raises `SteerAnomalyError` when none does."""
    if not root.is_dir():
        raise SteerAnomalyError(f"{root}: no such folder; expected the unpacked {card.title}")
    if present := _present(card, root):
        return present
    found = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
    expected = ", ".join(c.name for c in card.categories[:4])
    better = locate(card, root)
    advice = f"try {better}" if better else f"see `steer-anomaly datasets info {card.name}`"
    raise SteerAnomalyError(
        f"{root} does not look like {card.title}: expected folders such as {expected}; found {found}. "
        f"Give the folder that holds the categories ({advice})"
    )


def locate(card: Card, root: Path) -> Path | None:
    """`root`, its parent or a folder in it, whichever holds categories: archives differ in their top folder."""
    candidates = [root, *sorted(p for p in root.iterdir() if p.is_dir()), root.resolve().parent]
    return next((folder for folder in candidates if _present(card, folder)), None)


def _present(card: Card, root: Path) -> list[str]:
    return [c.name for c in card.categories if (root / (c.folder or c.name)).is_dir()]


def mvtec(folder: Path, prefix: str = "test", truth: Path | None = None) -> list[Sample]:
    """MVTec AD and its kin: `test/<defect>/x.png`, masks in `ground_truth/<defect>`.

    A mask is `x_mask.*`, `x.*` (BTAD), or a folder `x/` of masks (MVTec LOCO). `prefix` "" takes the defect
    folders directly in `folder`. When there is no `ground_truth` folder at all, only image labels are known.
    """
    truth = truth or folder / "ground_truth"
    test = folder / prefix if prefix else folder
    kinds = sorted(p for p in test.iterdir() if p.is_dir() and images_in(p)) if test.is_dir() else []
    if not kinds:
        raise SteerAnomalyError(f"{folder}: expected images in {test}/good and {test}/<defect>; found none")
    has_masks = truth.is_dir()
    samples = []
    for kind in (k for k in kinds if k != truth):
        good = kind.name.lower() in GOOD_NAMES
        for image in images_in(kind):
            masks = () if good or not has_masks else _mask_of(image, truth / kind.name)
            samples.append(Sample(image, masks, not good, kind.name, f"test/{kind.name}/{image.stem}"))
    return with_distinct_keys(samples)


def visa(root: Path, category: str) -> list[Sample]:
    """VisA: the test rows of `split_csv/1cls.csv` (columns object, split, label, image, mask)."""
    table = root / "split_csv" / "1cls.csv"
    if not table.is_file():
        raise SteerAnomalyError(
            f"{table}: not found. VisA needs its split table beside the class folders; unpack the archive again"
        )
    samples = [s for row in _rows(table) if (s := _visa_sample(root, category, row)) is not None]
    if not samples:
        raise SteerAnomalyError(
            f"{table}: no test rows for {category!r}; expected object,split,label,image,mask"
        )
    return with_distinct_keys(sorted(samples, key=lambda s: s.key))


def mvtec_ad_2(folder: Path, split: str = "public") -> list[Sample]:
    """MVTec AD 2: `test_public/{good,bad}` with masks, or the unlabelled images of a private test set."""
    if split not in AD2_SPLITS:
        raise SteerAnomalyError(f"no split {split!r}; there are: {', '.join(AD2_SPLITS)}")
    name = AD2_SPLITS[split]
    if split == "public":
        samples = mvtec(folder, prefix=name, truth=folder / name / "ground_truth")
        return [_rekeyed(s, name) for s in samples]
    images = images_in(folder / name)
    if not images:
        raise SteerAnomalyError(f"{folder / name}: expected the images of the {split} test set; found none")
    return with_distinct_keys(Sample(p, (), None, "private", f"{name}/{p.stem}") for p in images)


def pairs(folder: Path, image_folder: str = "") -> list[Sample]:
    """Images with `<stem>_label.*` beside them or in `Label/` (KolektorSDD, DAGM).

    An image without a label, or with a black one, is good: the label's pixels decide.
    """
    base = folder / image_folder
    images = sorted(p for p in base.rglob("*") if is_image(p) and not p.stem.endswith("_label"))
    if not images:
        raise SteerAnomalyError(f"{base}: expected images with <name>_label files; found no image")
    return [_pair(base, image) for image in images]


def _pair(base: Path, image: Path) -> Sample:
    labels = _with_stem(image.parent, image.stem + "_label") + _with_stem(
        image.parent / "Label", image.stem + "_label"
    )
    key = f"test/{image.relative_to(base).with_suffix('').as_posix()}"
    return decided_by_mask(image, tuple(labels[:1]), key)


def decided_by_mask(image: Path, masks: tuple[Path, ...], key: str) -> Sample:
    """A sample that is defective exactly when one of its masks has a defect pixel. Reads the masks."""
    from anomaly.testsets.samples import mask_pixels

    defective = any(mask_pixels(m).any() for m in masks)
    return Sample(image, masks, defective, "defect" if defective else "good", key)


def _category_folder(card: Card, root: Path, category: Category) -> Path:
    if category.name not in present_categories(card, root):
        raise SteerAnomalyError(
            f"{root} has no folder {category.folder or category.name!r}; expected it there for {card.title}. "
            "Leave that category out, or unpack the archive again"
        )
    return root / (category.folder or category.name)


def _mask_of(image: Path, folder: Path) -> tuple[Path, ...]:
    for place in (folder, folder.parent):  # the parent: masks of all defects in one flat folder
        for stem in (f"{image.stem}_mask", image.stem):
            if found := _with_stem(place, stem):
                return tuple(found[:1])
    if several := images_in(folder / image.stem):
        return tuple(several)
    return (folder / f"{image.stem}_mask.png",)  # where it should be; `require_files` says that it is missing


def _with_stem(folder: Path, stem: str) -> list[Path]:
    candidates = [folder / f"{stem}{suffix}" for s in IMAGE_SUFFIXES for suffix in (s, s.upper())]
    return [p for p in candidates if p.is_file()]


def _rekeyed(sample: Sample, split: str) -> Sample:
    from dataclasses import replace

    return replace(sample, key=sample.key.replace("test/", f"{split}/", 1))


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"object", "split", "label", "image", "mask"} - set(reader.fieldnames or ())
        if missing:
            raise SteerAnomalyError(f"{table}: the columns {', '.join(sorted(missing))} are missing")
        yield from reader


def _visa_sample(root: Path, category: str, row: dict[str, str]) -> Sample | None:
    if row["object"] != category or row["split"] != "test":
        return None
    good = row["label"] == "normal"
    image = root / row["image"]
    masks = () if good else (root / (row["mask"] or ""),)
    kind = "good" if good else "bad"
    return Sample(image, masks, not good, kind, f"test/{kind}/{image.stem}")
