"""Mapillary Vistas: street scenes, every pixel given a category (panoptic annotation, v2.0 or v1.2).

Files: `root/{training,validation}/v2.0/panoptic/panoptic_2020.json` with its PNGs, images in
`root/{training,validation}/images`. How the paper turned it into sentences is not published. Our choice: one
record per image and category, its name as the sentence, all its segments as the mask.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steervit.training.data.index import Row, open_records
from steervit.training.data.records import Records
from steervit.training.masks.run_length import Segments

FOLDERS = {"train": "training", "validation": "validation"}


def read(
    root: Path,
    split: str = "train",
    *,
    version: str = "v2.0",
    images: Path | None = None,
    min_share: float = 0.001,
    index: Path | None = None,
) -> Records:
    """A record per image and category that covers at least `min_share` of the image.

    `images` is a folder with all images of the split, by default `root/<split>/images`. Crowds and the void
    categories (unlabelled, ego vehicle, car mount) are left out. Raises FileNotFoundError, ValueError.
    """
    if split not in FOLDERS:
        raise ValueError(f"expected the split train or validation of Mapillary Vistas, got {split!r}")
    folder = root / FOLDERS[split] / version / "panoptic"
    file = next(iter(sorted(folder.glob("panoptic_*.json"))), None)
    if file is None:
        raise FileNotFoundError(f"Mapillary Vistas {version} needs a panoptic_*.json in {folder}")
    settings = {"split": split, "version": version, "min_share": min_share, "png": str(folder.resolve())}
    find = find_in(images or root / FOLDERS[split] / "images")
    return open_records(
        "mapillary", lambda: _rows(file, folder.resolve(), min_share), find, [file], settings, index
    )


def phrase(category: str) -> str:
    """A category's name as words: "Traffic Sign (Front)" -> "traffic sign front"."""
    return " ".join(re.sub(r"[()\-,/]+", " ", category).lower().split())


class find_in:
    """Where the image of a name may lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Iterable[Path]:
        return (self.folder / f"{name}.jpg",)


def _rows(file: Path, folder: Path, min_share: float) -> Iterator[Row]:
    try:
        content = json.loads(file.read_bytes())
        names = {c["id"]: phrase(c["name"]) for c in content["categories"] if not _void(c)}
        images = {image["id"]: image for image in content["images"]}
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            least = min_share * image["height"] * image["width"]
            yield from _rows_of(annotation, Path(image["file_name"]).stem, folder, names, least)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no panoptic annotation ({error!r}): fetch it again") from error


def _rows_of(
    annotation: dict[str, Any], image: str, folder: Path, names: dict[int, str], least: float
) -> Iterator[Row]:
    segments: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for segment in annotation["segments_info"]:
        segments[segment["category_id"]].append(segment)
    for category, some in segments.items():
        crowded = any(segment.get("iscrowd") for segment in some)  # part of the category cannot be told apart
        if category in names and not crowded and sum(segment["area"] for segment in some) >= least:
            mask = Segments(folder / annotation["file_name"], tuple(segment["id"] for segment in some))
            yield Row(image, image, names[category], mask, "mapillary")


def _void(category: dict[str, Any]) -> bool:
    return str(category.get("supercategory", "")).startswith("void")
