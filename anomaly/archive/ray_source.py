"""The list of images as Ray Data reads it: a read task for each shard. Only for where Ray is installed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from anomaly.archive.entry import Entry
from anomaly.archive.manifest import SCHEMA, Shard, read_shard
from anomaly.archive.places import Place

BYTES = 256  # of an entry, about


class ListedImages(Datasource):
    """The images of `shards`, a block each."""

    def __init__(self, place: Place, shards: list[Shard]) -> None:
        super().__init__()
        self._place, self._shards = place, shards

    def estimate_inmemory_data_size(self) -> int:
        """In bytes, about."""
        return sum(map(len, self._shards)) * BYTES

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """A task each shard, whatever was asked for: a shard is what one worker does at a time."""
        return [
            ReadTask(
                partial(_read, self._place, shard),
                BlockMetadata(len(shard), len(shard) * BYTES, None, None),
                schema=SCHEMA,
            )
            for shard in self._shards
        ]


def entries_in(block: pa.Table) -> list[Entry]:
    """The entries of a block."""
    return [
        Entry(row["path"], row["version"], row["size"], row["taken"], row["offset"])
        for row in block.to_pylist()
    ]


def _read(place: Place, shard: Shard) -> list[pa.Table]:
    rows = read_shard(place, shard)
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    return [pa.table(columns, schema=SCHEMA)]
