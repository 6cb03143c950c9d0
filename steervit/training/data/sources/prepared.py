"""The mixture that the paper's authors published: hub dataset `JonaRuthardt/SteerViT`, masks included.

Parquet with the columns image_id, dataset, mask, referential_expression. The images are not inside; each is
looked for in the local folders of COCO, Visual Genome or Mapillary Vistas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steervit.training.data.index import Row, open_records
from steervit.training.data.records import Records
from steervit.training.data.sources.coco_images import CocoImages
from steervit.training.masks.run_length import Mask, Png, from_coco

HUB = "JonaRuthardt/SteerViT"
COLUMNS = ("image_id", "dataset", "mask", "referential_expression")
ROWS_AT_ONCE = 512


def read(
    root: Path | None = None,
    split: str = "train",
    *,
    hub: str = HUB,
    revision: str | None = None,
    coco: Path | None = None,
    visual_genome: Path | None = None,
    mapillary: Path | None = None,
    index: Path | None = None,
) -> Records:
    """The records of a split (train, validation); each keeps the name of the data set that it came from.

    `root` is a folder with the parquet files, by default what the hub's cache holds, fetched if need be.
    `coco` holds train2014 and val2014, `visual_genome` VG_100K and VG_100K_2, `mapillary` the images. Records of
    a data set whose folder is not given count as missing. Raises FileNotFoundError, ValueError.
    """
    folder = root if root is not None else fetch(hub, revision)
    files = parquet_files(folder, split)
    find = _Images(coco, visual_genome, mapillary)
    settings = {"split": split}
    return open_records("prepared", lambda: _rows(files), find, files, settings, index)


def fetch(hub: str = HUB, revision: str | None = None) -> Path:
    """The folder of the hub dataset in the local cache, fetched or completed if need be.

    Raises FileNotFoundError when it is neither here nor can be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(hub, repo_type="dataset", revision=revision, allow_patterns="*.parquet")
        )
    except Exception as error:  # the hub's client raises its own and the network's
        raise FileNotFoundError(
            f"the dataset {hub} is not on this machine and cannot be fetched ({error}): run "
            f"`hf download {hub} --repo-type dataset` with a network, or give the folder as `root`"
        ) from error


def parquet_files(folder: Path, split: str) -> list[Path]:
    """The parquet files of a split: `<split>-*.parquet` or `<split>/*.parquet`, at any depth, in order.

    Raises FileNotFoundError when there is none.
    """
    every = sorted(folder.rglob("*.parquet"))
    files = [
        file
        for file in every
        if file.name.startswith((f"{split}-", f"{split}.")) or file.parent.name == split
    ]
    if not files:
        raise FileNotFoundError(
            f"expected parquet files of the split {split!r} in {folder} (such as data/{split}-00000-of-00001"
            f".parquet), found {len(every)} of other splits"
        )
    return files


class _Images:
    """Where an image may lie; keys are `<dataset>|<image_id>`."""

    def __init__(self, coco: Path | None, visual_genome: Path | None, mapillary: Path | None) -> None:
        self.coco, self.visual_genome, self.mapillary = coco, visual_genome, mapillary

    def __call__(self, key: str) -> Iterable[Path]:
        dataset, name = key.split("|", 1)
        name = name.removesuffix(".jpg")
        if name.startswith("COCO"):
            return CocoImages(_in(self.coco, "coco"))(name)
        if "visual genome" in dataset:
            root = _in(self.visual_genome, "visual_genome")
            return [root / "VG_100K" / f"{name}.jpg", root / "VG_100K_2" / f"{name}.jpg"]
        if "mapillary" in dataset:
            return [_in(self.mapillary, "mapillary") / f"{name}.jpg"]
        return [Path(f"<no folder known for the dataset {dataset}>") / f"{name}.jpg"]


def _in(folder: Path | None, option: str) -> Path:
    return folder if folder is not None else Path(f"<{option}: folder not given>")


def _rows(files: Iterable[Path]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=list(COLUMNS)):
                    yield from map(_row, batch.to_pylist())
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            wanted = ", ".join(COLUMNS)
            raise ValueError(f"{file} is damaged, or has not the columns {wanted} ({error})") from error


def _row(cells: dict[str, Any]) -> Row:
    dataset, image = str(cells["dataset"]), str(cells["image_id"])
    key = f"{dataset.lower().replace('_', ' ')}|{image}"
    return Row(key, image, cells["referential_expression"].strip(), _mask(cells["mask"]), dataset)


def _mask(cell: Any) -> Mask | None:
    """A mask as the hub's `Image` columns hold it (bytes and path), or as run lengths."""
    if isinstance(cell, dict) and cell.get("bytes"):
        return Png(cell["bytes"])
    if isinstance(cell, bytes):
        return Png(cell)
    if cell is None or (isinstance(cell, dict) and "bytes" in cell):
        return None
    return from_coco(json.loads(cell) if isinstance(cell, str) else cell)
