"""LVIS: categories with the outlines of all their instances in a COCO photograph.

Files: `lvis_v1_train.json` and `lvis_v1_val.json`, in `root` or `root/annotations`. How the paper turned
LVIS into sentences is not published. Our choice: one record per photograph and category, the category's
name as the sentence and all its instances as the mask; categories not outlined exhaustively in a photograph
are left out of it, since unmarked instances would be taught as background.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from steervit.training.data.index import Row, open_records
from steervit.training.data.records import Records
from steervit.training.data.sources.coco_images import CocoImages
from steervit.training.masks.run_length import Polygons


def read(
    root: Path,
    split: str = "train",
    *,
    images: Path | None = None,
    synonyms: bool = False,
    single_instances: bool = False,
    index: Path | None = None,
) -> Records:
    """A record per photograph and category of one split (train, validation).

    `images` holds train2017 and val2017 (or 2014's), by default `root`; `synonyms` makes a record for each
    of a category's names; `single_instances` keeps only what is there once. Raises FileNotFoundError, ValueError.
    """
    name = f"lvis_v1_{'val' if split == 'validation' else split}.json"
    file = next((path for path in (root / name, root / "annotations" / name) if path.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"LVIS needs {name} in {root} or {root / 'annotations'}")
    settings = {"split": split, "synonyms": synonyms, "single_instances": single_instances}
    return open_records(
        "lvis",
        lambda: _rows(file, synonyms, single_instances),
        CocoImages(images or root),
        [file],
        settings,
        index,
    )


def phrase(category: str) -> str:
    """A category's name as words: `bow_(weapon)` -> "bow", `alarm_clock` -> "alarm clock"."""
    return " ".join(re.sub(r"\(.*?\)", " ", category).replace("_", " ").split())


def _rows(file: Path, synonyms: bool, single_instances: bool) -> Iterator[Row]:
    try:
        content = json.loads(file.read_bytes())
        names = {c["id"]: _names(c, synonyms) for c in content["categories"]}
        unfinished = {i["id"]: set(i.get("not_exhaustive_category_ids", ())) for i in content["images"]}
        outlines: dict[tuple[int, int], list[list[list[float]]]] = defaultdict(list)
        for annotation in content.pop("annotations"):
            outlines[annotation["image_id"], annotation["category_id"]].append(annotation["segmentation"])
        for (image, category), instances in sorted(outlines.items()):
            if category in unfinished[image] or (single_instances and len(instances) > 1):
                continue
            mask = Polygons(tuple(tuple(part) for instance in instances for part in instance))
            number = f"{image:012d}"
            yield from (Row(number, number, name, mask, "lvis") for name in names[category])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no annotation file of LVIS v1 ({error!r}): fetch it again") from error


def _names(category: dict, synonyms: bool) -> list[str]:
    names = category["synonyms"] if synonyms else [category["name"]]
    return list(dict.fromkeys(phrase(name) for name in names))
