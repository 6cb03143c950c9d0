"""Writes an inspection to its result folder as it goes: whatever stops it, what was done stays usable.

Knows nothing of models. The layout: `run.json` (what was run), `results.jsonl` (the journal, a line per
image), `results.csv`, `heatmaps/*.tiff` (float32, one channel, at the image's own size), `masks/*.png` (0 or
255, same size), `overlays/*.jpg` (at most 1600 px), `previews/` (for the report) and `report.html`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from anomaly.inspection import Inspection
from anomaly.pictures.overlay import ColorScale
from anomaly.report.page import write_report
from anomaly.runs import claim
from anomaly.runs.image_files import SAVES, has_files, row_of, save_files
from anomaly.runs.journal import Journal
from anomaly.runs.loop import why_not_judged
from anomaly.runs.names import Names
from anomaly.runs.rows import FAILURES, VERDICTS, ImageRow, to_csv
from anomaly.runs.saving import OutputError, explained, save, save_json
from anomaly.runs.stamps import stamp_of

OURS = (
    "results.csv", "results.jsonl", "report.html", "drift.json", "judged-by.profile", "heatmaps", "masks", "overlays",
    "previews", "observations", "run.json",
)  # fmt: skip
_OTHERWISE = "choose another folder, or have them overwritten"


class ResultFolder:
    """The result folder `out` of one run; use it in a `with` statement, which writes the report at the end.

    `run_info` is kept in `run.json` and must be JSON-able. Keys with a meaning: `command` (str), `object`
    (str), `settings` (dict), `versions` (dict), `model` (dict), `card` (str, the model's card in plain text),
    `note` (str, the sentence on its limits that heads the report). When `out` holds an earlier run with the
    same object, settings and version, that run goes on: `pending` leaves out what it finished. With others it
    is refused, or deleted first when `overwrite` is true; files that are not ours are never touched. `save`
    says of which images heatmap, mask and overlay are kept: `all`, `defects` or `none`.

    Raises `OutputError` (also from every method that writes) with what to do.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        run_info: dict[str, Any],
        overwrite: bool = False,
        save: str = "all",
    ) -> None:
        if save not in SAVES:
            raise OutputError(f"expected one of {', '.join(SAVES)} to be saved, got {save!r}")
        self.path, self.keep = Path(out), save
        self._started = time.monotonic()
        self._open: Journal | None = None
        with explained("the folder", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            earlier = claim.read_run(self.path, OURS)
            self._open = Journal(self.path / "results.jsonl", "path")
            try:
                self.run = self._begin(claim.new_record(run_info), earlier, overwrite)
                self._write_run()
            except BaseException:
                self._open.close()
                raise
        self.rows = {path: ImageRow.from_line(line) for path, line in self._journal.lines.items()}
        self._names = Names({row.path: row.name for row in self.rows.values()})

    def pending(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` that still have to be inspected, in their order.

        An image is done when the journal has a result for it, its size and time of change are what they were,
        and what is to be kept of it is there. Images that failed are tried again.
        """
        return [path for path in paths if not self._is_done(path)]

    def name_of(self, wanted: str, path: Path) -> str:
        """What the files of an image are called: `wanted` where no other image has it; an image keeps its own."""
        return self._names.given(wanted, _absolute(path))

    def row_of(self, path: Path) -> ImageRow | None:
        """The row of an image; None when there is none."""
        return self.rows.get(_absolute(path))

    def begin(
        self, name: str, path: Path, image: np.ndarray, inspection: Inspection
    ) -> Callable[[], ImageRow]:
        """The first half of writing an image: what hangs on the order of images. To be called in that order.

        The result writes the image's files, in any thread, and returns the row for `add`. `name` is where they
        go below `heatmaps/` and the others (see `inputs.relative_name`; the name of another image is never
        reused), `image` RGB uint8 H x W x 3 as it was inspected.
        """
        if reason := why_not_judged(image, inspection):
            failed = self._failed(name, path, "failed", reason)
            return lambda: failed
        row = row_of(self._identity(name, path), image, inspection)
        scale, done = self._color_scale(inspection), len(self.rows)

        def finish() -> ImageRow:
            with explained(f"the results of {path}", self.path, done):
                return save_files(self.path, row, image, inspection, scale, self.keep)

        return finish

    def add(self, row: ImageRow) -> ImageRow:
        """The second half: note that an image is done."""
        with self._explained(f"the journal line of {row.file}"):
            self._journal.append(row.to_line())
        self.rows[row.path] = row
        return row

    def write(self, name: str, path: Path, image: np.ndarray, inspection: Inspection) -> ImageRow:
        """Write everything about one inspected image, `begin` and `add` in one; returns its row.

        An inspection whose score or map is not finite is written as `failed`, whatever verdict it has.
        """
        return self.add(self.begin(name, path, image, inspection)())

    def fail(self, path: Path, reason: str, name: str | None = None, verdict: str = "unreadable") -> ImageRow:
        """Note that an image could not be read (`unreadable`) or judged (`failed`), and why."""
        return self.add(self._failed(name or Path(path).stem, path, verdict, reason))

    def counts(self) -> dict[str, int]:
        """How many images the folder holds of each of `VERDICTS`."""
        counted = Counter(row.verdict for row in self.rows.values())
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def close(self, finished: bool = True) -> None:
        """Write `results.csv` and `report.html`, and complete `run.json`. May be called twice."""
        if self._open is None:
            return
        counts, self.run["finished"] = self.counts(), finished
        self.run |= {"counts": counts, "images": sum(counts.values()), "ended": claim.now()}
        self.run["seconds"] = round(self.run["seconds"] + time.monotonic() - self._started, 3)
        try:
            with self._explained("results.csv and report.html"):
                self._journal.compact()
                rows = list(self.rows.values())
                save(self.path / "results.csv", to_csv(rows))
                self._write_run()
                write_report(self.path, self.run, rows)
        finally:
            journal, self._open = self._open, None
            journal.close()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(OutputError):  # the first error is the one to show
                self.close(finished=False)

    def _begin(
        self, fresh: dict[str, Any], earlier: dict[str, Any] | None, overwrite: bool
    ) -> dict[str, Any]:
        if earlier is None:
            return fresh
        if overwrite:
            self._empty()
            return fresh
        return claim.go_on_with(earlier, fresh, self.path, _OTHERWISE)

    def _empty(self) -> None:
        self._journal.clear()
        for name in OURS:
            entry = self.path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif name != "results.jsonl":
                entry.unlink(missing_ok=True)

    def _is_done(self, path: Path) -> bool:
        row = self.rows.get(_absolute(path))
        if row is None or row.verdict in FAILURES:
            return False
        return (row.size, row.mtime_ns) == stamp_of(path) and has_files(self.path, row, self.keep)

    def _identity(self, name: str, path: Path) -> dict[str, Any]:
        absolute = _absolute(path)
        size, mtime_ns = stamp_of(path)
        return {
            "file": os.fspath(path), "name": self._names.given(name, absolute), "path": absolute,
            "size": size, "mtime_ns": mtime_ns, "object": self.run.get("object"),
        }  # fmt: skip

    def _failed(self, name: str, path: Path, verdict: str, reason: str) -> ImageRow:
        return ImageRow(**self._identity(name, path), verdict=verdict, error=reason)

    def _color_scale(self, inspection: Inspection) -> ColorScale:
        if "color_scale" not in self.run:
            scale = ColorScale.from_heatmap(inspection.heatmap, inspection.threshold)
            self.run["color_scale"] = scale.to_dict()
            with self._explained("run.json"):
                self._write_run()
        return ColorScale(**self.run["color_scale"])

    def _write_run(self) -> None:
        save_json(self.path / "run.json", self.run)

    @property
    def _journal(self) -> Journal:
        if self._open is None:
            raise OutputError(f"{self.path} is closed: open the folder again to write more")
        return self._open

    def _explained(self, what: str) -> Any:
        return explained(what, self.path, len(self.rows))


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  Path.resolve() would follow links
