"""The table once more as Lance datasets, `images.lance` and `errors.lance` beside the Parquet files that it is made of.

A chapter is one version of a dataset: written by one commit, or not at all. Which chapters are in it is told by its
number of rows, so a copy that was stopped goes on, and none is in it twice. Only for where Lance is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from anomaly.archive.columns import ERRORS, IMAGES, SCHEMA
from anomaly.archive.manifest import Manifest
from anomaly.archive.places import Place
from anomaly.archive.table import ArchiveError, closed, read_rows
from anomaly.errors import SteerAnomalyError
from anomaly.runs.rows import FAILURES

if TYPE_CHECKING:
    from lance import LanceDataset

AGAIN = "_lance/again.json"  # there: rows have changed since they were copied


def name_of(kind: str) -> str:
    """What the dataset of `images` or `errors` is called in the table's place."""
    return f"{kind}.lance"


def out_of_date(place: Place) -> None:
    """Have the next `copy` write anew what there is, as versions after those that are there. Raises `OSError`."""
    if any(_exists(place, kind) for kind in (IMAGES, ERRORS)):
        place.write_json(AGAIN, {})


def copy(
    place: Place, manifest: Manifest, tick: Callable[[int], object] = lambda rows: None
) -> dict[str, int]:
    """Bring the datasets up to the table, all chapters of which are closed; the rows of `images` and of `errors`.

    `tick` is told of rows that are in. Raises `OSError`, `ArchiveError` for a damaged file.
    """
    counts = closed(place)
    again = place.exists(AGAIN)
    rows = {IMAGES: 0, ERRORS: 0}
    for kind in rows:
        of_chapters = [_rows_of(counts[chapter], kind) for chapter in range(len(manifest.chapters))]
        rows[kind] = sum(of_chapters)
        first = 0 if again else _next(place, kind, of_chapters)
        tick(sum(of_chapters[:first]))
        for chapter in range(first, len(of_chapters)):
            _write(
                place, kind, chapter, fresh=chapter == 0, expected=sum(of_chapters[: chapter + 1]), tick=tick
            )
    place.remove(AGAIN)
    return rows


def _rows_of(counts: dict[str, int], kind: str) -> int:
    return sum(count for verdict, count in counts.items() if (verdict in FAILURES) == (kind == ERRORS))


def _next(place: Place, kind: str, of_chapters: list[int]) -> int:
    """The first chapter that is not in the dataset; the very first where the dataset is not of this table."""
    if not _exists(place, kind):
        return 0
    there = _opened(place, kind).count_rows()
    for chapter in range(len(of_chapters), 0, -1):
        if sum(of_chapters[:chapter]) == there:
            return chapter
    return 0


def _write(
    place: Place, kind: str, chapter: int, fresh: bool, expected: int, tick: Callable[[int], object]
) -> None:
    """One chapter, by one commit. `fresh`: in place of whatever there is."""
    import lance

    mode = "append" if not fresh else "overwrite" if _exists(place, kind) else "create"
    why: list[SteerAnomalyError] = []
    rows = pa.RecordBatchReader.from_batches(SCHEMA, _batches(place, kind, chapter, tick, why))
    try:
        made = lance.write_dataset(
            rows, place.full(name_of(kind)), mode=mode, storage_options=_options(place)
        )
    except OSError as error:
        raise why[0] if why else error from None
    if (there := made.count_rows()) != expected:
        raise ArchiveError(
            f"expected {expected} rows in {place.full(name_of(kind))} with chapter {chapter}, got {there}: does "
            "somebody else write to it? Delete it and run the same command again"
        )


def _batches(
    place: Place, kind: str, chapter: int, tick: Callable[[int], object], why: list[SteerAnomalyError]
) -> Iterator[pa.RecordBatch]:
    """The rows of a chapter; `why` there are no more of them, as Lance passes on no more than the text of an error."""
    try:
        for rows in read_rows(place, kind, chapter):
            yield from rows.select(SCHEMA.names).cast(SCHEMA).to_batches()
            tick(rows.num_rows)
    except SteerAnomalyError as error:
        why.append(error)
        raise


def _exists(place: Place, kind: str) -> bool:
    return place.exists(f"{name_of(kind)}/_versions")  # which the first commit makes


def _opened(place: Place, kind: str) -> LanceDataset:
    import lance

    return lance.dataset(place.full(name_of(kind)), storage_options=_options(place))


def _options(place: Place) -> dict[str, Any] | None:
    """Lance opens URLs with drivers of its own, which read the usual variables; http is only for a store at home."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if place.url.startswith(("s3://", "s3a://")) and endpoint.startswith("http://"):
        return {"aws_endpoint": endpoint, "allow_http": "true"}
    return None
