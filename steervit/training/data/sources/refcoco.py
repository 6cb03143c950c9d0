"""RefCOCO, RefCOCO+ and RefCOCOg: sentences that people used to point one object out in a COCO photograph.

Files of `root/<dataset>`, as published with the `refer` toolbox: `refs(unc|google|umd).p`, a pickle of plain
lists and dicts that is read without running it, and `instances.json`. The file names inside the pickle are
not those of COCO, so images are found by their number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steervit.training.data.index import Row, open_records
from steervit.training.data.records import Records
from steervit.training.data.sources.coco_images import CocoImages
from steervit.training.data.sources.plain_pickle import load_plain_pickle
from steervit.training.masks.run_length import MaskError, from_coco

DATASETS = ("refcoco", "refcoco+", "refcocog")


def read(
    root: Path,
    split: str = "train",
    *,
    dataset: str = "refcoco",
    split_by: str | None = None,
    images: Path | None = None,
    index: Path | None = None,
) -> Records:
    """The sentences of one split (train, validation, test, testA, testB), each a record.

    `dataset` is refcoco, refcoco+ or refcocog; `split_by` unc, google or umd (by default umd for refcocog,
    else unc); `images` the folder with train2014, by default `root/images/mscoco/images`.
    Raises FileNotFoundError, and ValueError for unreadable files or a split that is not there.
    """
    if dataset not in DATASETS:
        raise ValueError(f"expected a dataset among {', '.join(DATASETS)}, got {dataset!r}")
    split_by = split_by or ("umd" if dataset == "refcocog" else "unc")
    refs, instances = root / dataset / f"refs({split_by}).p", root / dataset / "instances.json"
    for file in (refs, instances):
        if not file.is_file():
            raise FileNotFoundError(f"{dataset} needs {file}, as in the archive of the `refer` toolbox")
    name = "val" if split == "validation" else split
    find = CocoImages(images or root / "images/mscoco/images")
    settings = {"split": split, "dataset": dataset, "split_by": split_by}
    return open_records(
        dataset, lambda: _rows(dataset, refs, instances, name), find, [refs, instances], settings, index
    )


def _rows(dataset: str, refs: Path, instances: Path, split: str) -> Iterator[Row]:
    found = load_plain_pickle(refs)
    try:
        present = {ref["split"] for ref in found}
        if split not in present:
            raise ValueError(f"{refs} has no split {split!r}; there are: {', '.join(sorted(present))}")
        content = json.loads(instances.read_bytes())
        names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
        masks = {annotation["id"]: annotation["segmentation"] for annotation in content["annotations"]}
        for ref in found:
            if ref["split"] == split:
                yield from _rows_of(dataset, ref, names[ref["image_id"]], masks[ref["ann_id"]])
    except (KeyError, TypeError, MaskError) as error:
        raise ValueError(
            f"{refs} and {instances} do not fit together, or are no `refer` files ({error!r})"
        ) from error


def _rows_of(dataset: str, ref: dict[str, Any], image: str, segmentation: Any) -> Iterator[Row]:
    mask = from_coco(segmentation)
    for sentence in ref["sentences"]:
        text = (sentence.get("raw") or sentence["sent"]).strip()
        if text:
            yield Row(image, image, text, mask, dataset)
