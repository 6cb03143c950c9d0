"""Annotations turned once into an Arrow file that every process maps: no gigabytes of JSON per start.

Which annotations there are is the sources' business; this module only keeps rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from steervit.files import write_whole
from steervit.training.data.records import Records
from steervit.training.masks.run_length import Mask

VERSION = 1  # of what readers write; raise it when a reader changes, so that old files are not used
ROWS_PER_BATCH = 4096


@dataclass(frozen=True)
class Row:
    """What a reader finds. `image` is a key from which the reader can tell where the image lies.

    `mask` is None where one was to be made and is not there, or is not good enough: such rows are counted.
    """

    image: str
    image_id: str
    expression: str
    mask: Mask | None
    source: str


def open_records(
    source: str,
    read: Callable[[], Iterable[Row]],
    find: Callable[[str], Iterable[Path]],
    files: Sequence[Path],
    settings: dict[str, Any],
    index: Path | None,
) -> Records:
    """The records of one source. `read` is only called when the folder `index` has no file for them yet.

    A file belongs to `settings` and to the sizes and times of `files`. Without `index` the rows stay in memory.
    Raises ValueError when there is no row at all, or no image of any row.
    """
    if index is None:
        table, file = _table(read()), None
    else:
        file = _built(source, read, index, _name(source, files, settings))
        table = mapped(file)
    if not table.num_rows:
        raise ValueError(
            f"expected annotations of {source} in {', '.join(map(str, files))} that fit "
            f"{settings}, found none: check the split and the options"
        )
    records = Records(table, source, find, file)
    if not len(records):
        missing = records.missing.missing_images
        raise ValueError(
            f"none of the {len(missing):,} images of {source} was found, the first as {missing[0]}: "
            "set the image folder in the recipe"
        )
    return records


def default_folder() -> Path:
    """Where index files go unless a recipe says otherwise: `$XDG_CACHE_HOME/steer-anomaly/index`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "steer-anomaly" / "index"


def mapped(file: Path) -> Any:
    """The Arrow table in `file`, mapped and not read."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _schema() -> Any:
    import pyarrow as pa

    text = pa.large_string()
    return pa.schema(
        [
            ("image", text),
            ("image_id", text),
            ("expression", text),
            ("mask", pa.large_binary()),
            ("source", text),
        ]
    )


def _name(source: str, files: Sequence[Path], settings: dict[str, Any]) -> str:
    seen = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    text = json.dumps([VERSION, source, seen, settings], sort_keys=True, default=str)
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.arrow"


def _built(source: str, read: Callable[[], Iterable[Row]], folder: Path, name: str) -> Path:
    from filelock import FileLock

    file = folder / name
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):  # of several processes one reads, the others wait
        if not file.exists():
            write_whole(file, lambda path: _write(path, read()))
    return file


def _write(path: Path, rows: Iterable[Row]) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _schema()) as writer:
        for batch in _batches(rows):
            writer.write_batch(batch)


def _table(rows: Iterable[Row]) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches(_batches(rows), schema=_schema())


def _batches(rows: Iterable[Row]) -> Iterator[Any]:
    import pyarrow as pa

    remaining = iter(rows)
    while some := list(islice(remaining, ROWS_PER_BATCH)):
        columns = [
            [row.image for row in some],
            [row.image_id for row in some],
            [row.expression for row in some],
            [None if row.mask is None else row.mask.pack() for row in some],
            [row.source for row in some],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _schema(), strict=True)]
        yield pa.record_batch(arrays, schema=_schema())
