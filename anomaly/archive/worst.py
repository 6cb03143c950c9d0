"""The worst images of a table, and the report of them: only these are fetched again. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anomaly.archive.columns import IMAGES, SIDE, to_image_row
from anomaly.archive.entry import Entry
from anomaly.archive.places import Place
from anomaly.archive.reading import read_picture
from anomaly.archive.table import chapters_of, file_names, read_file, read_run
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.encode import to_jpeg, to_png
from anomaly.pictures.overlay import ColorScale, shrink
from anomaly.report.page import write_report
from anomaly.runs.image_files import PREVIEW_HEAT_SIDE, PREVIEW_SIDE
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import explained, save

Row = dict[str, Any]


def worst_rows(place: Place, count: int) -> list[Row]:
    """The `count` rows with the highest scores, worst first; equal scores by id. Goes through the scores once.

    Raises `OSError`, `ArchiveError` for a damaged file.
    """
    best: list[tuple[float, str, str]] = []  # minus score, id, file
    for name in _files(place):
        scores = read_file(place, name, ["id", "score"])
        ids, values = scores["id"].to_pylist(), scores["score"].to_numpy()
        top = np.argsort(-values, kind="stable")
        # Ties reach over the cut, so that no order of files decides.
        kept = top[: count + int((values == values[top[count - 1]]).sum())] if len(top) > count else top
        best = sorted([*best, *((-float(values[i]), ids[i], name) for i in kept)])[:count]
    wanted = {one: score for score, one, _ in best}
    rows = [
        row
        for name in sorted({name for *_, name in best})
        for row in read_file(place, name).to_pylist()
        if row["id"] in wanted
    ]
    return sorted(rows, key=lambda row: (-row["score"], row["id"]))


def report(
    place: Place, out: Path, count: int, tick: Callable[[], object] = lambda: None
) -> tuple[Path, int, list[str]]:
    """Write the report of the worst `count` images below `out`: its path, how many they are, what could not be shown.

    Raises `ArchiveError` for no table, `OutputError` when it cannot be written.
    """
    run, rows = read_run(place), worst_rows(place, count)
    if not rows:
        raise SteerAnomalyError(f"expected images with a score in {place.url}, there are none yet")
    scale = ColorScale.from_heatmap(_map(rows[0]), rows[0]["threshold"])
    shown, missing = [], []
    with explained("the report", out, None):
        for rank, row in enumerate(rows, 1):
            as_row = to_image_row(row, f"{rank:05}-{row['id'][:12]}")
            if reason := _previews(out, as_row, row, scale):
                missing.append(f"{row['path']}: {reason}")
            shown.append(replace(as_row, error=as_row.error))
            tick()
        told = run | {"color_scale": scale.to_dict(), "note": _note(run, len(rows)), "table": "TABLE"}
        return write_report(out, told, shown), len(rows), missing


def _note(run: dict[str, Any], count: int) -> str:
    images = run["archive"].get("images")
    return f"The {count} highest scores of {images} images of an archive. {run.get('note') or ''}"


def _previews(out: Path, shown: ImageRow, row: Row, scale: ColorScale) -> str | None:
    """Photograph and heatmap for the page; why there is none, in words."""
    try:
        entry = Entry(row["path"], row["version"], row["size"], row["taken"])
        image = read_picture(entry).image
    except SteerAnomalyError as error:
        return getattr(error, "reason", str(error))
    if image.shape[:2] != (row["height"], row["width"]):
        return "there is a picture of another size now"
    long, (height, width) = max(image.shape[:2]), image.shape[:2]
    size = (max(1, width * PREVIEW_HEAT_SIDE // long), max(1, height * PREVIEW_HEAT_SIDE // long))
    heat = cv2.resize(_map(row), size, interpolation=cv2.INTER_LINEAR)
    save(out / f"previews/photo/{shown.name}.jpg", to_jpeg(shrink(image, PREVIEW_SIDE), 85))
    save(out / f"previews/heat/{shown.name}.png", to_png(scale.levels(heat)))
    return None


def _map(row: Row) -> np.ndarray:
    return np.array(row["heatmap"], np.float32).reshape(SIDE, SIDE)


def _files(place: Place) -> Iterator[str]:
    for chapter in chapters_of(place):
        yield from file_names(place, IMAGES, chapter)
