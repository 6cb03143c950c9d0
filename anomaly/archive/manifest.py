"""The list of an archive's images, made once: every later step reads it, so a run means the same images to its end.

In chapters of a million and shards of at most a thousand: a shard is what a worker does at a time, a chapter what is
checked and closed at a time. Knows no models. Files: `_manifest/chapter-00000.parquet`, and `index.json`, written last.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from anomaly.archive.entry import Entry
from anomaly.archive.places import Place
from anomaly.errors import SteerAnomalyError

FOLDER, INDEX = "_manifest", "_manifest/index.json"
GROUP = 1024  # rows of a row group; a shard lies within one
CHAPTER = 1024 * GROUP  # rows
SHARDS = 64  # of a small archive at least, so that every worker has some to the end
FEWEST = 16  # rows of a shard
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("taken", pa.timestamp("us", tz="UTC")),
        pa.field("offset", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Shard:
    """Rows `start` to `stop` (exclusive) of a chapter. `name` is that of its files in the table."""

    chapter: int
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.number:05}.parquet"

    def __len__(self) -> int:
        return self.stop - self.start


def chapter_name(chapter: int) -> str:
    """What a chapter's folders and files are called."""
    return f"chapter-{chapter:05}"


@dataclass(frozen=True)
class Manifest:
    """What was listed: `images` in all, in `chapters` of these many rows, shards of `shard` rows; `repeated` left out.

    `size` in bytes, of those images whose size is known.
    """

    images: int
    chapters: tuple[int, ...]
    shard: int
    size: int
    repeated: int
    inputs: tuple[str, ...]

    def shards(self, chapter: int) -> list[Shard]:
        """The shards of a chapter, in order."""
        rows = self.chapters[chapter]
        starts = range(0, rows, self.shard)
        return [Shard(chapter, i, start, min(start + self.shard, rows)) for i, start in enumerate(starts)]


def listed(place: Place) -> Manifest | None:
    """The manifest that is there; None when none was finished."""
    known = place.read_json(INDEX)
    if known is None:
        return None
    return Manifest(**known | {"chapters": tuple(known["chapters"]), "inputs": tuple(known["inputs"])})


def write_manifest(
    place: Place,
    entries: Iterable[Entry],
    inputs: tuple[str, ...],
    unique: bool,
    chapter: int = CHAPTER,
) -> Manifest:
    """List `entries` once, each image once; `unique` says that none comes twice, which saves remembering all.

    `chapter` is how many images each but the last has. Raises `SteerAnomalyError` where there is no image, `OSError`
    when it cannot be written.
    """
    seen: set[bytes] | None = None if unique else set()
    chapters = _Chapters(place, chapter)
    repeated = size = 0
    for entry in entries:
        if seen is not None:
            key = bytes.fromhex(entry.id)
            if key in seen:
                repeated += 1
                continue
            seen.add(key)
        chapters.add(entry)
        size += entry.size or 0
    rows = chapters.close()
    if not rows:
        raise SteerAnomalyError(f"expected images, found none in: {', '.join(inputs)}")
    images = sum(rows)
    manifest = Manifest(images, tuple(rows), shard_rows(images), size, repeated, inputs)
    place.write_json(INDEX, asdict(manifest))
    return manifest


def shard_rows(images: int) -> int:
    """Rows of a shard: a power of two, about a 64th of a small archive, so that it does not hang on who works on it."""
    rows = FEWEST
    while rows < GROUP and rows * SHARDS < images:
        rows *= 2
    return rows


def read_shard(place: Place, shard: Shard) -> list[Entry]:
    """The images of a shard, in order. Raises `OSError`."""
    store_name = f"{FOLDER}/{chapter_name(shard.chapter)}.parquet"
    with _opened(place, store_name) as file:
        pages = parquet.ParquetFile(file)
        rows = pages.read_row_group(shard.start // GROUP)
        first = shard.start % GROUP
        return [_entry(row) for row in rows.slice(first, len(shard)).to_pylist()]


def read_columns(place: Place, chapter: int, columns: list[str]) -> pa.Table:
    """Some columns of a chapter, in order. Raises `OSError`."""
    with _opened(place, f"{FOLDER}/{chapter_name(chapter)}.parquet") as file:
        return parquet.read_table(file, columns=columns)


def read_all(place: Place, manifest: Manifest) -> Iterator[Entry]:
    """Every image, shard by shard."""
    for chapter in range(len(manifest.chapters)):
        for shard in manifest.shards(chapter):
            yield from read_shard(place, shard)


def _opened(place: Place, name: str) -> Any:
    """Of which only what is asked for is read: a chapter's list may have hundreds of megabytes."""
    return place.open(name) if place.remote else (place.path / name).open("rb")


class _Chapters:
    """Files of a chapter each, of which no more than one, compressed, is in memory."""

    def __init__(self, place: Place, rows: int) -> None:
        self._place, self._most = place, rows
        self._sizes: list[int] = []
        self._group: list[Entry] = []
        self._begin()

    def add(self, entry: Entry) -> None:
        self._group.append(entry)
        if len(self._group) == min(GROUP, self._most - self._rows):
            self._end_group()
            if self._rows == self._most:
                self._end()
                self._begin()

    def close(self) -> list[int]:
        self._end_group()
        if self._rows:
            self._end()
        return self._sizes

    def _begin(self) -> None:
        self._buffer, self._rows = io.BytesIO(), 0
        # Each shard reads the footer: no statistics in it, which nobody asks for.
        self._writer = parquet.ParquetWriter(self._buffer, SCHEMA, compression="zstd", write_statistics=False)

    def _end_group(self) -> None:
        if self._group:
            columns = {name: [getattr(one, name) for one in self._group] for name in SCHEMA.names}
            self._writer.write_table(pa.table(columns, schema=SCHEMA), row_group_size=GROUP)
            self._rows += len(self._group)
            self._group = []

    def _end(self) -> None:
        self._writer.close()
        name = f"{FOLDER}/{chapter_name(len(self._sizes))}.parquet"
        self._place.write(name, self._buffer.getvalue())
        self._sizes.append(self._rows)


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(row["path"], row["version"], row["size"], row["taken"], row["offset"])
