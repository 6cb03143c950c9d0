"""Any folder of the user's as a test set: MVTec layout, images with a mask folder, or good and bad folders.

Looks at folder names only, and reads masks where nothing but the mask says which image is defective.
"""

from __future__ import annotations

from pathlib import Path

from anomaly.errors import SteerAnomalyError
from anomaly.testsets.layouts import GOOD_NAMES, decided_by_mask, mvtec
from anomaly.testsets.samples import Sample, images_in, is_image, with_distinct_keys

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "ground_truth", "labels", "label", "gt", "annotations")
MASK_ENDINGS = ("", "_mask", "_gt", "_label", "-mask", "-gt")
EXPECTED = """expected one of
  test/good/*.png, test/<defect>/*.png, ground_truth/<defect>/*_mask.png   (MVTec layout)
  images/*.png with masks/*.png of the same names                         (a mask folder)
  good/*.png and bad/*.png (any other name will do for bad)                (image metrics only)
in the folder itself or in each of its subfolders"""


def folder_categories(root: Path) -> dict[str, Path]:
    """Category name -> its folder: `root` itself, or each subfolder that holds a test set.

    Raises `SteerAnomalyError` describing the accepted layouts when there is neither.
    """
    if not root.is_dir():
        raise SteerAnomalyError(f"{root}: no such folder; {EXPECTED}")
    if _kind(root):
        return {root.resolve().name: root}
    found = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and _kind(p)}
    if not found:
        inside = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
        raise SteerAnomalyError(f"{root}: no test set found (it holds {inside}); {EXPECTED}")
    return found


def folder_samples(folder: Path) -> list[Sample]:
    """The test images of one such folder; see `EXPECTED` for what is understood."""
    kind = _kind(folder)
    if kind == "mvtec":
        return mvtec(folder)
    if kind == "masks":
        return _with_mask_folder(folder)
    if kind == "kinds":
        return mvtec(folder, prefix="", truth=_mask_folder(folder) or folder / "ground_truth")
    raise SteerAnomalyError(f"{folder}: no test set found; {EXPECTED}")


def mask_samples(folder: Path) -> list[Sample]:
    """A folder that holds nothing but masks: each stands for its image, and is good when it is black.

    Masks may lie in subfolders, as in `ground_truth/<defect>/`. Raises `SteerAnomalyError` when there is none.
    """
    masks = sorted(path for path in folder.rglob("*") if is_image(path))
    if not masks:
        raise SteerAnomalyError(f"{folder}: neither a test set nor a folder of masks; {EXPECTED}")
    keys = (f"test/{path.relative_to(folder).with_suffix('').as_posix()}" for path in masks)
    return with_distinct_keys(decided_by_mask(p, (p,), key) for p, key in zip(masks, keys, strict=True))


def holds_masks_only(folder: Path) -> bool:
    """Whether `folder` is called as mask folders are, or has image files directly in it, and is no test set."""
    if not folder.is_dir():
        return False
    if folder.resolve().name.lower() in MASK_FOLDERS:
        return not (folder / "test").is_dir()
    return _kind(folder) is None and bool(images_in(folder))


def without_mask(folder: Path) -> str | None:
    """A sentence naming the images that count as good because they have no mask; None when there are none."""
    if _kind(folder) != "masks":
        return None
    bare = [sample.image for sample in _with_mask_folder(folder) if not sample.masks]
    if not bare:
        return None
    some = ", ".join(path.name for path in bare[:3]) + (", ..." if len(bare) > 3 else "")
    count = "1 image" if len(bare) == 1 else f"{len(bare)} images"
    return f"No mask, so counted as good: {count} of {folder.resolve().name} ({some})."


def _kind(folder: Path) -> str | None:
    if (folder / "test").is_dir():
        return "mvtec"
    if _image_folder(folder) and _mask_folder(folder):
        return "masks"
    subfolders = [p for p in folder.iterdir() if p.is_dir() and images_in(p)]
    if any(p.name.lower() in GOOD_NAMES for p in subfolders) and len(subfolders) > 1:
        return "kinds"
    return None


def _image_folder(folder: Path) -> Path | None:
    named = [folder / name for name in IMAGE_FOLDERS if images_in(folder / name)]
    return named[0] if named else (folder if images_in(folder) else None)


def _mask_folder(folder: Path) -> Path | None:
    return next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)


def _with_mask_folder(folder: Path) -> list[Sample]:
    images, masks = _image_folder(folder), _mask_folder(folder)
    assert images is not None and masks is not None  # what `_kind` has established
    by_stem = {p.stem: p for p in images_in(masks)}
    samples, used = [], set()
    for image in images_in(images):
        mask = next((by_stem[image.stem + e] for e in MASK_ENDINGS if image.stem + e in by_stem), None)
        used.add(mask)
        samples.append(decided_by_mask(image, (mask,) if mask else (), f"test/{image.stem}"))
    if unused := [p for p in by_stem.values() if p not in used]:
        raise SteerAnomalyError(
            f"{unused[0]}: belongs to no image in {images} ({len(unused)} such masks). Masks must be "
            "named as their image, or with _mask, _gt or _label added"
        )
    return with_distinct_keys(samples)
