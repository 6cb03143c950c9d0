"""The table on its place: which shards are done, how one is committed, and when a chapter is closed. Knows no model.

`images/chapter-00000/*.parquet` holds the rows, `errors/chapter-00000/*.parquet` those of images without a result,
`_run.json` what was run, `_done/` the checked chapters, `_manifest/` the list. A shard's files are named after its
place in the list, so whoever works on it again, after whatever death, replaces its rows and never adds to them.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute
from pyarrow import parquet

from anomaly.archive.columns import ERRORS, IMAGES, PARQUET, table_of
from anomaly.archive.manifest import Shard, chapter_name, read_columns
from anomaly.archive.places import Place
from anomaly.errors import SteerAnomalyError
from anomaly.runs.rows import FAILURES

RUN = "_run.json"
CHECKPOINTS = "_checkpoint"  # Ray's
READERS = 64  # files that are looked at together: a store answers slowly, and many at a time


class ArchiveError(SteerAnomalyError):
    """A table that is not what it should be; says what to do."""


def commit(place: Place, shard: Shard, rows: Iterable[dict[str, Any]]) -> Counter[str]:
    """Write a shard's rows; how many there are of each verdict. Raises `OSError`, with what was there before left.

    Errors go first: the file of images, empty or not, is the commit.
    """
    rows = list(rows)
    bad = [row for row in rows if row["verdict"] in FAILURES]
    folder = chapter_name(shard.chapter)
    name = f"{ERRORS}/{folder}/{shard.name}"
    if bad:
        place.write(name, to_bytes(table_of(bad)))
    elif place.exists(name):  # of an attempt that was not committed
        place.remove(name)
    good = [row for row in rows if row["verdict"] not in FAILURES]
    place.write(f"{IMAGES}/{folder}/{shard.name}", to_bytes(table_of(good)))
    return Counter(row["verdict"] for row in rows)


def to_bytes(table: pa.Table) -> bytes:
    """A Parquet file of the table, a row group each 1,024 rows."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **PARQUET)
    return buffer.getvalue()


def committed(place: Place, chapter: int) -> set[str]:
    """Names of the shards of a chapter that are done, by the local engine."""
    return set(place.files(f"{IMAGES}/{chapter_name(chapter)}"))


def errors_in(place: Place, chapter: int, shards: set[str]) -> int:
    """How many errors some shards of a chapter have."""
    names = [name for name in file_names(place, ERRORS, chapter) if name.rsplit("/", 1)[-1] in shards]
    return sum(read_file(place, name, ["id"]).num_rows for name in names)


def read_rows(place: Place, kind: str, chapter: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a chapter of `images` or `errors`, a table each file. Raises `ArchiveError` for a damaged file."""
    for name in file_names(place, kind, chapter):
        yield read_file(place, name, columns)


def file_names(place: Place, kind: str, chapter: int) -> list[str]:
    """The files of a chapter of `images` or `errors`, as names in the place."""
    folder = f"{kind}/{chapter_name(chapter)}"
    return [f"{folder}/{name}" for name in place.files(folder)]


def read_file(place: Place, name: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of a file. Raises `OSError`, `ArchiveError` for a damaged file."""
    try:
        if not place.remote:
            with parquet.ParquetFile(place.path / name) as file:
                return file.read(columns)
        if columns is None:
            return parquet.ParquetFile(io.BytesIO(place.read(name))).read()
        with place.open(name) as parts, parquet.ParquetFile(parts) as file:
            return file.read(columns)  # a hundredth of the bytes where there are no heatmaps among them
    except pa.ArrowInvalid as error:
        chapter = name.split("/")[1]
        raise ArchiveError(f"{place.full(name)} is damaged ({error}): {_anew(chapter)}") from error


def closed(place: Place) -> dict[int, dict[str, int]]:
    """The chapters that were checked and closed, with their verdicts counted."""
    found = [name for name in place.files("_done") if name.endswith(".json")]
    return {
        int(name.removeprefix("chapter-").removesuffix(".json")): place.read_json(f"_done/{name}")
        for name in found
    }


def close(place: Place, chapter: int) -> dict[str, int]:
    """Check that each image of a chapter has one row, and note it; its verdicts counted.

    Raises `ArchiveError` for rows that are missing or there twice.
    """
    wanted = read_columns(place, chapter, ["id"])["id"]
    counts: Counter[str] = Counter()
    ids = []
    names = [*file_names(place, IMAGES, chapter), *file_names(place, ERRORS, chapter)]
    with ThreadPoolExecutor(READERS) as pool:
        for table in pool.map(lambda name: read_file(place, name, ["id", "verdict"]), names):
            ids.append(table["id"])
            counts.update(table["verdict"].to_pylist())
    there = pa.chunked_array([chunk for one in ids for chunk in one.chunks], pa.string())
    if len(there) != len(wanted) or pa.compute.count_distinct(there).as_py() != len(there):
        raise ArchiveError(_unequal(place, chapter, len(wanted), there))
    if not pa.compute.all(pa.compute.is_in(there, value_set=wanted)).as_py():
        raise ArchiveError(_unequal(place, chapter, len(wanted), there))
    place.write_json(f"_done/{chapter_name(chapter)}.json", dict(counts))
    return dict(counts)


def chapters_of(place: Place) -> list[int]:
    """The chapters that have rows."""
    names = {*place.folders(IMAGES), *place.folders(ERRORS)}
    return sorted(int(name.removeprefix("chapter-")) for name in names if name.startswith("chapter-"))


def read_run(place: Place) -> dict[str, Any]:
    """The record of the run. Raises `ArchiveError` where there is none."""
    run = place.read_json(RUN)
    if not isinstance(run, dict) or "archive" not in run:
        raise ArchiveError(f"expected a table that `steer-anomaly archive` wrote, {place.url} is none")
    return run


def _unequal(place: Place, chapter: int, wanted: int, there: pa.ChunkedArray) -> str:
    return (
        f"expected a row for each of the {wanted} images of {chapter_name(chapter)}, got {len(there)} rows of "
        f"{pa.compute.count_distinct(there).as_py()} of them in {place.url}: were files added or deleted by hand? "
        f"To mend it, {_anew(chapter_name(chapter))}"
    )


def _anew(chapter: str) -> str:
    """What makes a chapter be done once more, by either engine."""
    return (
        f"delete {IMAGES}/{chapter}, {ERRORS}/{chapter}, {CHECKPOINTS}/{chapter} and _done/{chapter}.json there, "
        "as far as there are such, and run the same command again"
    )
