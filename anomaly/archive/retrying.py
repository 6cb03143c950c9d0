"""Images without a result are done once more: their rows are taken out, so that the next run finds them not done.

With the local engine the whole shard of such an image is open again. With Ray its checkpoint is made anew from the rows
that stay, chapter by chapter: what is to be done is noted first, in `_retry/`, and gone through by whoever comes next.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from anomaly.archive.columns import ERRORS, IMAGES
from anomaly.archive.lance_copy import out_of_date
from anomaly.archive.manifest import chapter_name
from anomaly.archive.places import Place
from anomaly.archive.table import CHECKPOINTS, chapters_of, file_names, read_rows, to_bytes

NOTES = "_retry"
_PENDING = ".pending.parquet"  # of Ray: ids whose rows may be half-written (`ray.data.checkpoint`)


def reopen(place: Place, engine: str) -> int:
    """Have every image done again that is in the errors table; how many. Raises `OSError`, `ArchiveError`."""
    images = 0
    out_of_date(place)
    for chapter in chapters_of(place):
        names = file_names(place, ERRORS, chapter)
        images += sum(rows.num_rows for rows in read_rows(place, ERRORS, chapter, ["id"]))
        if names and engine == "ray":
            place.write_json(f"{NOTES}/{chapter_name(chapter)}.json", {"errors": names})
        elif names:
            place.remove(_done(chapter))
            for name in names:
                place.remove(
                    name.replace(ERRORS, IMAGES, 1)
                )  # the shard's commit; its errors are written over
    go_through(place)
    return images


def go_through(place: Place) -> None:
    """Do what was noted for Ray, again from its beginning where it was stopped. No run may be at work."""
    for name in place.files(NOTES):
        noted: dict[str, Any] = place.read_json(f"{NOTES}/{name}")
        chapter = int(name.removeprefix("chapter-").removesuffix(".json"))
        _drop_half_written(place, chapter)
        _make_checkpoint(place, chapter)
        for errors in noted["errors"]:
            place.remove(errors)
        place.remove(_done(chapter))
        place.remove(f"{NOTES}/{name}")


def _done(chapter: int) -> str:
    return f"_done/{chapter_name(chapter)}.json"


def _drop_half_written(place: Place, chapter: int) -> None:
    """As Ray does when it goes on."""
    pending = [
        name.removesuffix(_PENDING)
        for name in place.files(f"{CHECKPOINTS}/{chapter_name(chapter)}")
        if name.endswith(_PENDING)
    ]
    for kind in (IMAGES, ERRORS):
        for name in file_names(place, kind, chapter):
            if name.rsplit("/", 1)[-1].startswith(tuple(pending)):
                place.remove(name)


def _make_checkpoint(place: Place, chapter: int) -> None:
    """One of the images that have a result, in place of what there is; at no time without: then all are done again."""
    folder = f"{CHECKPOINTS}/{chapter_name(chapter)}"
    before = [f"{folder}/{name}" for name in place.files(folder)]
    kept = [rows["id"] for rows in read_rows(place, IMAGES, chapter, ["id"])]
    ids = pa.chunked_array([chunk for one in kept for chunk in one.chunks], pa.string())
    made = f"{folder}/kept.parquet"
    place.write(made, to_bytes(pa.table({"id": ids})))
    for name in before:
        if name != made:
            place.remove(name)
