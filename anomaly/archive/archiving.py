"""A run over an archive from its beginning to its end: the list, the record, the lock, and who works. Prints nothing.

Knows neither options nor progress bars.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomaly.archive.columns import IMAGES, VERSION
from anomaly.archive.entries import entries_of, may_repeat
from anomaly.archive.manifest import CHAPTER, GROUP, Manifest, listed, write_manifest
from anomaly.archive.places import Place, told
from anomaly.archive.table import RUN, ArchiveError
from anomaly.runs import claim
from anomaly.runs.rows import VERDICTS
from anomaly.runs.saving import OutputError

PATIENCE = 10.0  # seconds until the workers of a driver that was killed have noticed


@dataclass
class Archive:
    """A table that is being made: its place, the list of images, and its record, as `_run.json` has it."""

    place: Place
    manifest: Manifest
    run: dict[str, Any]

    def finish(self, counts: Mapping[str, int], finished: bool = True) -> None:
        """Complete the record. Raises `OutputError`."""
        began = self.run.pop("_clock", time.monotonic())
        self.run |= {"finished": finished, "ended": claim.now()}
        self.run["seconds"] = round(self.run["seconds"] + time.monotonic() - began, 3)
        if finished:
            self.run["counts"] = {verdict: counts.get(verdict, 0) for verdict in VERDICTS}
        with told(self.place, RUN):
            self.place.write_json(RUN, self.run)


@contextmanager
def opened(
    place: Place,
    inputs: tuple[str, ...],
    column: str | None,
    run_info: Mapping[str, Any],
    engine: str,
    chapter: int = CHAPTER,
) -> Iterator[Archive]:
    """The archive at `place`, listed now or going on with what was listed; no other run may be at work there.

    `run_info` as in `runs.folder.ResultFolder`. Raises `OutputError` where there is a run of other inputs or settings,
    `SteerAnomalyError` for inputs that are none.
    """
    fresh = claim.new_record(dict(run_info)) | {
        "archive": {"schema": VERSION, "engine": engine, "inputs": list(inputs)}
    }
    with _locked(place):
        with told(place, "the list of images"):
            run = _claimed(place, fresh)
            manifest = listed(place)
            if manifest is None:
                entries = entries_of(inputs, column)
                manifest = write_manifest(
                    place, entries, inputs, not may_repeat(inputs), chapter // GROUP * GROUP
                )
            run["archive"] |= {
                "images": manifest.images,
                "shard": manifest.shard,
                "repeated": manifest.repeated,
            }
            place.write_json(RUN, run)
        run["_clock"] = time.monotonic()
        archive = Archive(place, manifest, run)
        try:
            yield archive
        except BaseException:
            archive.finish({}, finished=False)
            raise


def _claimed(place: Place, fresh: dict[str, Any]) -> dict[str, Any]:
    earlier = place.read_json(RUN)
    unlisted = listed(place) is None
    if earlier is not None and unlisted and place.folders(IMAGES):
        raise ArchiveError(
            f"expected the list of images of the table at {place.url}, there are rows without it; choose another --out"
        )
    if earlier is None or (
        unlisted and "archive" in earlier
    ):  # it came to nothing: of a wrong input, perhaps
        if earlier is None and (place.files("") or place.folders("")):
            raise OutputError(
                f"expected an empty or new place for the table, there is something at {place.url}"
            )
        place.write_json(RUN, fresh)  # before anything else: it says whose the rest is
        return fresh
    if "archive" not in earlier:
        raise ArchiveError(
            f"expected a table that `steer-anomaly archive` wrote, {place.url} is none; choose another"
        )
    then, now = earlier["archive"], fresh["archive"]
    for name in ("schema", "inputs", "engine"):
        if then.get(name) != now[name]:
            raise OutputError(
                f"{place.url} was begun with {name} {then.get(name)}, not {now[name]}: "
                "run the same command again to go on, or choose another --out"
            )
    return claim.go_on_with(earlier, fresh, Path(place.url), "choose another --out")


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """No two runs into one folder; of an object store nobody knows, and there two runs write the same rows."""
    if place.remote:
        yield
        return
    from filelock import FileLock, Timeout

    with told(place, "the lock"):
        place.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.path / ".lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout as error:
            raise OutputError(
                f"another run is writing to {place.url}; wait for it or choose another --out"
            ) from error
    try:
        yield
    finally:
        lock.release()


def counted(counts: Counter[str]) -> str:
    """Verdicts and how many there are, in words."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) or "none"
