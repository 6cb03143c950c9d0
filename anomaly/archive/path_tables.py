"""Tables of paths, Parquet or CSV: what they say of versions, sizes and times is believed. S3 Inventories, too."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from anomaly.archive.entry import Entry, as_text, at
from anomaly.archive.places import is_url, store_of
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.suffixes import is_image_name

# Columns of a table; of each kind the first that is there.
PATHS = ("path", "file", "image", "url", "uri", "key", "filename", "file_name")
VERSIONS = ("version", "etag", "e_tag")
TIMES = ("taken", "time", "timestamp", "date", "last_modified_date")
BATCH = 16_384  # rows of a table at a time
MILLISECONDS = 1e11  # times from here on are not seconds, which would be in the year 5138


def images_of(url: str, column: str | None) -> Iterator[Entry]:
    """The images that a Parquet or CSV file names, relative to it; `column` names the paths.

    Raises `SteerAnomalyError` for a file that is no such table, or a row without a path.
    """
    parent = url.rsplit("/", 1)[0] if "/" in url else "."
    count = 0
    for rows in _batches(url, column):
        names = rows.column_names
        paths = column or _first(PATHS, names) or (names[0] if len(names) == 1 else None)
        if paths not in names:
            raise SteerAnomalyError(
                f"expected a column of paths called {column or ', '.join(PATHS)} in {url}, it has {', '.join(names)}: "
                "name it with --column"
            )
        inventory = paths == "key" and "bucket" in names
        version, taken = _first(VERSIONS, names), _first(TIMES, names)
        for row in rows.to_pylist():
            count += 1
            if row[paths] in (None, ""):
                raise SteerAnomalyError(f"expected a path in each row of {url}, row {count} has none")
            if inventory and not _is_image(row):
                continue
            text = f"s3://{row['bucket']}/{row['key']}" if inventory else str(row[paths])
            full = text if is_url(text) or text.startswith("/") else f"{parent}/{text}"
            when = _time(row[taken] if taken else None, url)
            yield _entry(full, row[version] if version else None, row.get("size"), when)


def _first(wanted: tuple[str, ...], names: list[str]) -> str | None:
    return next((one for one in wanted if one in names), None)


def _is_image(row: dict[str, Any]) -> bool:
    """Of an S3 Inventory, which lists whatever a bucket has, earlier versions too."""
    latest = row.get("is_latest") is not False and not row.get("is_delete_marker")
    return latest and is_image_name(PurePosixPath(row["key"]).name)


def _entry(path: str, version: Any, size: Any, taken: datetime | None) -> Entry:
    if version in (None, ""):
        found = next(at([path]))
        return Entry(found.path, found.version, found.size, taken or found.taken)
    place = path if is_url(path) else os.path.abspath(path)  # noqa: PTH100
    return Entry(as_text(place), str(version), _size(size), taken)


def _batches(url: str, column: str | None) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    # A CSV's columns are guessed from its beginning: names and etags may look like numbers there.
    texts = dict.fromkeys((*PATHS, *VERSIONS, *([column] if column else [])), pa.string())
    store, inside = store_of(url)
    try:
        with store.open(inside, "rb") as file:
            if url.lower().endswith(".parquet"):
                yield from parquet.ParquetFile(file).iter_batches(BATCH)
            else:
                yield from csv.open_csv(file, convert_options=csv.ConvertOptions(column_types=texts))
    except (OSError, pa.ArrowInvalid) as error:
        raise SteerAnomalyError(f"expected a table of paths, {url} cannot be read as one: {error}") from error


def _size(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _time(value: Any, url: str) -> datetime | None:
    """Seconds or milliseconds since 1970, ISO 8601, a date; UTC where it does not say."""
    if value in (None, "") or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= MILLISECONDS else value, UTC)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
    except (ValueError, AttributeError, OverflowError, OSError) as error:
        raise SteerAnomalyError(
            f"expected times in ISO 8601 or as seconds since 1970 in {url}, got {value!r}"
        ) from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)
