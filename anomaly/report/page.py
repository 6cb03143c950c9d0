"""Makes `report.html`, one file without links outside it, from a run's record, its journal and its previews.

Knows nothing of models and never reads the original photographs, so it can be made again at any time.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.encode import to_image
from anomaly.pictures.overlay import THRESHOLD_LEVEL, heat_layer, shrink
from anomaly.runs.journal import Record, read_lines, write_atomically

# Up to so many images: longer side of the photograph and of its heatmap in the report, px, and JPEG quality.
SIZES = ((60, 720, 192, 85), (300, 480, 160, 82), (1_200, 300, 112, 78), (None, 220, 80, 72))
# When this much base64 is spent the images that follow, the least suspicious, are listed without a picture.
PICTURE_BUDGET = 36_000_000
_OPTIONAL = ("object", "note", "card", "command", "settings", "versions", "model", "ended", "seconds")
_MAX_REGIONS, _MAX_POINTS = 40, 1_200


def write_report(out: Path, run: dict[str, Any], records: list[Record]) -> Path:
    """Write `out/report.html` from the previews in `out`, worst image first; returns its path.

    `run` is what `run.json` holds. Raises `OSError` when it cannot be written.
    """
    entries = _entries(out, sorted(records, key=_badness))
    page = (
        _environment()
        .get_template("report.html")
        .render(
            run=dict.fromkeys(_OPTIONAL) | run,
            title=f"Inspection: {run.get('object') or 'parts'}",
            counts=Counter(record["verdict"] for record in records),
            models=sorted({record["model"] for record in records if record.get("model")}),
            entries=entries,
            scale=run.get("color_scale"),
            legend=_legend(),
            bare=sum("p" not in entry and not entry["e"] for entry in entries),
        )
    )
    write_atomically(out / "report.html", lambda file: file.write(page.encode("utf-8", "replace")))
    return out / "report.html"


def rebuild_report(out: Path) -> Path:
    """Make the report of the result folder `out` again. Raises `SteerAnomalyError` when it holds no run."""
    try:
        run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SteerAnomalyError(
            f"expected a result folder with a run.json, but {out} has none: {error}"
        ) from error
    latest = {record["path"]: record for record in read_lines(out / "results.jsonl")[0]}
    return write_report(out, run, list(latest.values()))


def _badness(record: Record) -> tuple[bool, float, str]:
    """Highest score first, what has no score last."""
    score = record["score"]
    return score is None, -(score or 0.0), record["file"]


def _entries(out: Path, records: list[Record]) -> list[dict[str, Any]]:
    """What the page knows of each image, under one-letter names (see `report.js`), pictures in base64."""
    _, *sizes = next(row for row in SIZES if row[0] is None or len(records) <= row[0])
    left = PICTURE_BUDGET
    entries = []
    for record in records:
        entry = _entry(record)
        if record["score"] is not None and left > 0:
            entry |= _pictures(out, record["name"], *sizes)
            left -= len(entry.get("p", "")) + len(entry.get("q", ""))
        entries.append(entry)
    return entries


def _entry(record: Record) -> dict[str, Any]:
    if record["score"] is None:
        error = record["error"] or "no score"
        return {"f": record["file"], "v": record["verdict"], "s": None, "c": 0, "e": error}
    return {
        "f": record["file"],
        "n": record["name"],
        "v": record["verdict"],
        "s": record["score"],
        "t": record["threshold"],
        "w": record["width"],
        "h": record["height"],
        "m": record["milliseconds"],
        "c": len(record["regions"]),
        "r": [_region(region) for region in record["regions"][:_MAX_REGIONS]],
        "o": _first_outlines(record["outlines"]),
        "e": None,
    }


def _region(region: dict[str, Any]) -> list[float]:
    x, y = (round(value) for value in region["centroid_xy"])
    return [region["area"], *region["box_xyxy"], x, y, float(f"{region['peak']:.5g}")]


def _first_outlines(polygons: list[list[int]]) -> list[list[int]]:
    """As many polygons, longest first, as stay within a number of points that browsers draw at once."""
    kept: list[list[int]] = []
    points = 0
    for polygon in polygons:
        points += len(polygon) // 2
        if points > _MAX_POINTS and kept:
            break
        kept.append(polygon)
    return kept


def _pictures(out: Path, name: str, side: int, heat_side: int, quality: int) -> dict[str, str]:
    """The photograph (`p`, JPEG) and its heat layer (`q`, transparent WebP) in base64; nothing when lost."""
    photo = _read(out / "previews" / "photo" / f"{name}.jpg", cv2.IMREAD_COLOR)
    levels = _read(out / "previews" / "heat" / f"{name}.png", cv2.IMREAD_GRAYSCALE)
    if photo is None or levels is None:
        return {}
    small = shrink(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), side)
    layer = heat_layer(shrink(levels, heat_side))
    return {
        "p": _base64(to_image(".jpg", small, cv2.IMWRITE_JPEG_QUALITY, quality)),
        "q": _base64(to_image(".webp", layer, cv2.IMWRITE_WEBP_QUALITY, 70)),
    }


def _read(path: Path, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (OSError, cv2.error):
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _legend() -> list[str]:
    """The colours of the scale from background over threshold to the top, as CSS."""
    levels = np.linspace(0, 255, 18).astype(np.uint8)[None]
    assert THRESHOLD_LEVEL == 128  # the page writes the threshold under the middle of the legend
    return [f"rgb({r} {g} {b} / {a / 255:.2f})" for r, g, b, a in heat_layer(levels)[0].tolist()]


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("anomaly.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
