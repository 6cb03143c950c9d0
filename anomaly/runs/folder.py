"""Writes an inspection to its result folder as it goes: whatever stops it, what was done stays usable.

Knows nothing of models. The layout: `run.json` (what was run), `results.jsonl` (the journal, a line per
image), `results.csv`, `heatmaps/*.tiff` (float32, one channel, at the image's own size), `masks/*.png` (0 or
255, same size), `overlays/*.jpg` (at most 1600 px), `previews/` (for the report) and `report.html`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from anomaly import __version__
from anomaly.inspection import Inspection
from anomaly.pictures.encode import to_csv, to_float_tiff, to_image
from anomaly.pictures.overlay import ColorScale, draw_overlay, outlines, shrink
from anomaly.report.page import write_report
from anomaly.runs.claim import OURS, OutputError, advice, differences, read_run
from anomaly.runs.journal import Journal, Record, write_atomically

VERDICTS = ("defect", "ok", "unjudged", "unreadable")
PREVIEW_SIDE, PREVIEW_HEAT_SIDE = 720, 192  # px
_FOLDERS = {"heatmap": ("heatmaps", ".tiff"), "mask": ("masks", ".png"), "overlay": ("overlays", ".jpg")}


class ResultFolder:
    """The result folder `out` of one run; use it in a `with` statement, which writes the report at the end.

    `run_info` is kept in `run.json` and must be JSON-able. Keys with a meaning: `command` (str), `object`
    (str), `settings` (dict), `versions` (dict), `model` (dict), `card` (str, the model's card in plain text),
    `note` (str, the sentence on its limits that heads the report). When `out` holds an earlier run with the
    same object and settings, that run goes on: `pending` leaves out what it finished. With others it is
    refused, or deleted first when `overwrite` is true; files that are not ours are never touched.

    Raises `OutputError` (also from every method that writes) with what to do.
    """

    def __init__(
        self, out: str | os.PathLike[str], run_info: dict[str, Any], overwrite: bool = False
    ) -> None:
        self.path = Path(out)
        self._started = time.monotonic()
        self._journal: Journal | None = None
        with self._explained("the folder"):
            self.path.mkdir(parents=True, exist_ok=True)
            earlier = read_run(self.path)
            self._journal = Journal(self.path / "results.jsonl")
            try:
                self.run = self._begin(run_info, earlier, overwrite)
                self._write_run()
            except BaseException:
                self._journal.close()
                raise
        self._names = {_key(record["name"]): path for path, record in self._journal.records.items()}

    def pending(self, paths: Iterable[Path]) -> list[Path]:
        """Those of `paths` that still have to be inspected, in their order.

        An image is done when the journal has a result for it, its size and time of change are what they were,
        and its heatmap, mask and overlay are there. Unreadable images are tried again.
        """
        return [path for path in paths if not self._is_done(path)]

    def write(self, name: str, path: Path, image: np.ndarray, inspection: Inspection) -> Record:
        """Write everything about one inspected image; returns its line of the journal.

        `name` is where its files go below `heatmaps/` and the others (see `inputs.relative_name`; the name of
        another image is never reused), `image` RGB uint8 H x W x 3 as it was inspected.
        """
        record = self._record(name, path) | _result(image, inspection)
        with self._explained(f"the results of {path}"):
            files = {kind: f"{folder}/{record['name']}{end}" for kind, (folder, end) in _FOLDERS.items()}
            scale = self._color_scale(inspection)
            overlay = draw_overlay(image, inspection, scale)
            self._save(files["heatmap"], to_float_tiff(inspection.heatmap))
            self._save(files["mask"], to_image(".png", inspection.mask.astype(np.uint8) * 255))
            self._save(files["overlay"], to_image(".jpg", overlay, cv2.IMWRITE_JPEG_QUALITY, 90))
            self._save_previews(
                record["name"], image, scale.levels(shrink(inspection.heatmap, PREVIEW_HEAT_SIDE))
            )
            record |= files
            self._open_journal().append(record)
        return record

    def fail(self, path: Path, reason: str, name: str | None = None) -> Record:
        """Note that an image could not be inspected, and why."""
        record = self._record(name or Path(path).stem, path)
        record |= {"verdict": "unreadable", "score": None, "regions": [], "error": reason}
        with self._explained(f"the journal line of {path}"):
            self._open_journal().append(record)
        return record

    def counts(self) -> dict[str, int]:
        """How many images the folder holds of each verdict: `defect`, `ok`, `unjudged`, `unreadable`."""
        counted = Counter(record["verdict"] for record in self._open_journal().records.values())
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def close(self, finished: bool = True) -> None:
        """Write `results.csv` and `report.html`, and complete `run.json`. May be called twice."""
        if self._journal is None:
            return
        counts, self.run["finished"] = self.counts(), finished
        self.run |= {"counts": counts, "images": sum(counts.values()), "ended": _now()}
        self.run["seconds"] = round(self.run["seconds"] + time.monotonic() - self._started, 3)
        journal, self._journal = self._journal, None
        try:
            with self._explained("results.csv and report.html"):
                journal.compact()
                records = list(journal.records.values())
                self._save("results.csv", to_csv(records))
                self._write_run()
                write_report(self.path, self.run, records)
        finally:
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
        self, run_info: dict[str, Any], earlier: dict[str, Any] | None, overwrite: bool
    ) -> dict[str, Any]:
        fresh = json.loads(json.dumps(run_info)) | {
            "tool": {"name": "steer-anomaly", "version": __version__},
            "started": _now(),
            "finished": False,
            "seconds": 0.0,
        }
        if earlier is None:
            return fresh
        if overwrite:
            self._empty()
            return fresh
        if different := differences(earlier, fresh):
            raise OutputError(
                f"{self.path} holds the results of a run with other settings ({'; '.join(different)}). "
                "Choose another folder with --out, or pass --overwrite to delete them"
            )
        kept = {key: earlier[key] for key in ("started", "seconds", "color_scale") if key in earlier}
        return fresh | kept | {"resumed": [*earlier.get("resumed", []), _now()]}

    def _empty(self) -> None:
        self._open_journal().clear()
        for name in OURS:
            entry = self.path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif name != "results.jsonl":
                entry.unlink(missing_ok=True)

    def _is_done(self, path: Path) -> bool:
        record = self._open_journal().records.get(_absolute(path))
        if record is None or record["verdict"] == "unreadable":
            return False
        same = (record["size"], record["mtime_ns"]) == _stamp(path)
        return same and all((self.path / record[kind]).is_file() for kind in _FOLDERS)

    def _record(self, name: str, path: Path) -> Record:
        absolute = _absolute(path)
        size, mtime_ns = _stamp(path)
        return {
            "file": os.fspath(path), "name": self._unique(name, absolute), "path": absolute,
            "size": size, "mtime_ns": mtime_ns, "object": self.run.get("object"), "error": None,
        }  # fmt: skip

    def _unique(self, name: str, path: str) -> str:
        """`name`, with the extension or a number added when another image has it; an image keeps its own."""
        if path in self._open_journal().records:
            return self._open_journal().records[path]["name"]
        name = "/".join(_short(part) for part in name.split("/") if part not in ("", ".", ".."))
        numbered = (f"{name}_{i}" for i in count(2))
        tries = chain([name, f"{name}_{Path(path).suffix[1:]}"], numbered)
        free = next(attempt for attempt in tries if self._names.get(_key(attempt), path) == path)
        self._names[_key(free)] = path
        return free

    def _color_scale(self, inspection: Inspection) -> ColorScale:
        if "color_scale" not in self.run:
            scale = ColorScale.from_heatmap(inspection.heatmap, inspection.threshold)
            self.run["color_scale"] = scale.to_dict()
            self._write_run()
        return ColorScale(**self.run["color_scale"])

    def _save_previews(self, name: str, image: np.ndarray, levels: np.ndarray) -> None:
        photo = to_image(".jpg", shrink(image, PREVIEW_SIDE), cv2.IMWRITE_JPEG_QUALITY, 85)
        self._save(f"previews/photo/{name}.jpg", photo)
        self._save(f"previews/heat/{name}.png", to_image(".png", levels))

    def _save(self, name: str, data: bytes | memoryview) -> None:
        write_atomically(self.path / name, lambda file: file.write(data))

    def _write_run(self) -> None:
        self._save("run.json", (json.dumps(self.run, indent=2, allow_nan=False) + "\n").encode())

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise OutputError(f"{self.path} is closed: open the folder again to write more")
        return self._journal

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn an `OSError` into an `OutputError` that says what to do."""
        try:
            yield
        except OSError as error:
            done = len(self._journal.records) if self._journal else 0
            kept = f"{done} images are done and kept" if done else "nothing was written yet"
            raise OutputError(advice(error, self.path, what, kept)) from error


def _result(image: np.ndarray, inspection: Inspection) -> Record:
    """The part of a journal line that comes from the inspection."""
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "verdict": inspection.verdict,
        "score": _finite(inspection.score),
        "threshold": _finite(inspection.threshold),
        "regions": [asdict(region) for region in inspection.regions],
        "outlines": outlines(inspection.mask),
        "milliseconds": _finite(round(inspection.milliseconds, 2)),
        "object": inspection.object,
        "model": inspection.model,
        "written": _now(),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _stamp(path: Path) -> tuple[int | None, int | None]:
    try:
        stat = Path(path).stat()
    except OSError:
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100  links are not followed: two links are two images


def _key(name: str) -> str:
    # Names that a file system may hold to be one: case on Windows and macOS, composed umlauts on macOS.
    return unicodedata.normalize("NFC", name).casefold()


def _short(part: str) -> str:
    """A path part that leaves room for our extensions within the 255 bytes a file name may have."""
    data = os.fsencode(part)
    if len(data) <= 200:
        return part
    return f"{data[:180].decode('utf-8', 'ignore')}_{sha256(data).hexdigest()[:12]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
