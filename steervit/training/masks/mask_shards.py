"""Parquet shards of masks made from boxes: what `sam_masks` writes and the sources read.

Columns: `region` (the region's number), `image_id`, `box` (x, y, width, height in pixels), `height` and `width`
of the image, `counts` (COCO's compressed run lengths; null where no mask could be made), `area` in pixels,
`quality` (the model's own estimate of the IoU, 0..1), `error` (why there is no mask).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steervit.files import write_whole
from steervit.training.masks.run_length import Rle


@dataclass(frozen=True)
class MaskRow:
    """One region's mask, or why there is none. Fields: see the module."""

    region: int
    image_id: str
    box: tuple[float, float, float, float]
    height: int = 0
    width: int = 0
    counts: str | None = None
    area: int = 0
    quality: float | None = None
    error: str | None = None


def shard_path(folder: Path, number: int, count: int) -> Path:
    """The file of shard `number` of `count`."""
    return folder / f"masks-{number:05d}-of-{count:05d}.parquet"


def shard_files(folder: Path) -> list[Path]:
    """The shards in `folder`, in order. Raises FileNotFoundError when there is none."""
    files = sorted(folder.glob("masks-*-of-*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"expected masks-*.parquet in {folder}: make them with `steer-anomaly train masks`"
        )
    return files


def write_shard(path: Path, rows: Sequence[MaskRow], made_with: dict[str, str]) -> None:
    """Write `rows` to `path`, whole or not at all; `made_with` (model, ...) is kept beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_schema().with_metadata(made_with))
    write_whole(path, lambda to: pq.write_table(table, to, compression="zstd"))


def readable(path: Path, made_with: dict[str, str]) -> bool:
    """Whether `path` is a whole shard that was made the same way. Raises ValueError when made another way."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return False
    try:
        found = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False  # damaged: it is made again
    there = {key: found.get(key.encode(), b"").decode() for key in made_with}
    if there != made_with:
        raise ValueError(
            f"{path} was made with {there}, now it would be {made_with}: give another folder for the masks"
        )
    return True


class MaskShards:
    """All masks of a folder, by region number, as Arrow columns (about as large as the files)."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = ["region", "height", "width", "counts", "quality"]
        try:
            tables = [pq.read_table(file, columns=columns) for file in shard_files(folder)]
        except (pa.ArrowException, KeyError) as error:
            raise ValueError(
                f"a shard in {folder} is damaged ({error}): delete it and make it again"
            ) from error
        self._table = pa.concat_tables(tables)
        regions = self._table.column("region").to_numpy()
        self._order = np.argsort(regions, kind="stable")
        self._sorted = regions[self._order]

    def __len__(self) -> int:
        return len(self._sorted)

    def get(self, region: int, min_quality: float = 0.0) -> Rle | None:
        """The mask of a region, or None when none was made or its quality is below `min_quality`."""
        place = int(np.searchsorted(self._sorted, region))
        if place == len(self) or self._sorted[place] != region:
            return None
        row = {name: self._table.column(name)[int(self._order[place])].as_py() for name in self._names}
        if row["counts"] is None or (row["quality"] or 0.0) < min_quality:
            return None
        return Rle((row["height"], row["width"]), row["counts"])

    @functools.cached_property
    def _names(self) -> list[str]:
        return [name for name in self._table.column_names if name != "region"]


@functools.cache
def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("region", pa.int64()),
            ("image_id", pa.string()),
            ("box", pa.list_(pa.float32(), 4)),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("counts", pa.string()),
            ("area", pa.int64()),
            ("quality", pa.float32()),
            ("error", pa.string()),
        ]
    )
