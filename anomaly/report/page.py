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
import numpy as np

from anomaly.inspection import Region
from anomaly.pictures.encode import to_image, to_jpeg
from anomaly.pictures.overlay import THRESHOLD_LEVEL, drawable, heat_layer, shrink
from anomaly.report.html import render
from anomaly.runs.rows import ImageRow
from anomaly.runs.saving import save

# Up to so many images: longer side of the photograph and of its heatmap in the report, px, and JPEG quality.
SIZES = ((60, 720, 192, 85), (300, 480, 160, 82), (1_200, 300, 112, 78), (None, 220, 80, 72))
# When this much base64 is spent the images that follow, the least suspicious, are listed without a picture.
PICTURE_BUDGET = 36_000_000
DATA = '<script type="application/json" id="data">'  # in the template, before the entries
PICTURES = "pqlx"  # the entries' keys that hold one
_OPTIONAL = (
    "object",
    "note",
    "doubts",
    "card",
    "command",
    "settings",
    "versions",
    "model",
    "ended",
    "seconds",
)
_MAX_REGIONS = 40


def write_report(out: Path, run: dict[str, Any], rows: list[ImageRow], again: bool = False) -> Path:
    """Write `out/report.html` from the previews in `out`, worst image first; returns its path.

    `run` is what `run.json` holds. With `again` pictures are taken from the report that is there: of the same images,
    with other verdicts. Raises `OSError` when it cannot be written, `SteerAnomalyError` when its
    template is broken.
    """
    entries = _entries(out, sorted(rows, key=_badness), _pictures_of(out) if again else {})
    page = render(
        "report.html",
        run=dict.fromkeys(_OPTIONAL) | run,
        title=f"Inspection: {run.get('object') or 'parts'}",
        counts=Counter(row.verdict for row in rows),
        models=sorted({row.model for row in rows if row.model}),
        entries=entries,
        scale=run.get("color_scale"),
        out=run.get("table") or (out.name if out.name and not any(c.isspace() for c in out.name) else "OUT"),
        legend=_legend(),
        promises=run.get("promises") or [],
        judging=_judging(run),
        drift=_drift(run.get("drift")),
        bare=sum("p" not in entry and not entry["e"] for entry in entries),
    )
    save(out / "report.html", page.encode("utf-8", "replace"))
    return out / "report.html"


def _badness(row: ImageRow) -> tuple[bool, float, str]:
    """Highest score first, what has no score last."""
    return row.score is None, -(row.score or 0.0), row.file


def _pictures_of(out: Path) -> dict[str, dict[str, str]]:
    """The pictures (see `_pictures`) in the report that is there, by the name of their image; none when it is lost."""
    try:
        page = (out / "report.html").read_text(encoding="utf-8", errors="replace")
        data = page.split(DATA, 1)[1].split("</script>", 1)[0]
        return {
            one["n"]: {key: one[key] for key in PICTURES if key in one}
            for one in json.loads(data)
            if "p" in one
        }
    except (OSError, IndexError, ValueError, KeyError, TypeError):
        return {}


def _entries(out: Path, rows: list[ImageRow], known: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """What the page knows of each image, under one-letter names (see `report.js`), pictures in base64."""
    _, *sizes = next(row for row in SIZES if row[0] is None or len(rows) <= row[0])
    left = PICTURE_BUDGET
    entries = []
    for row in rows:
        entry = _entry(row)
        if row.score is not None and left > 0:
            entry |= known.get(row.name) or _pictures(out, row.name, *sizes) | _compared(out, row.name)
            left -= sum(len(entry.get(key, "")) for key in PICTURES)
        entries.append(entry)
    return entries


def _entry(row: ImageRow) -> dict[str, Any]:
    if row.score is None:
        return {"f": row.file, "v": row.verdict, "s": None, "c": 0, "e": row.error or "no score"}
    return {
        "f": row.file,
        "n": row.name,
        "v": row.verdict,
        "s": row.score,
        "t": row.threshold,
        "w": row.width,
        "h": row.height,
        "m": row.milliseconds,
        "c": len(row.regions),
        "r": [_region(region) for region in row.regions[:_MAX_REGIONS]],
        "o": drawable(row.outlines),
        "j": row.mm_per_pixel,
        "a": row.p_value,
        "k": list(row.parts.items()),
        "b": row.compared_with,
        "z": row.closest,
        "e": row.error,
    }


def _region(region: Region) -> list[float]:
    x, y = (round(value) for value in region.centroid_xy)
    return [region.area, *region.box_xyxy, x, y, float(f"{region.peak:.5g}")]


def _pictures(out: Path, name: str, side: int, heat_side: int, quality: int) -> dict[str, str]:
    """The photograph (`p`, JPEG) and its heat layer (`q`, transparent WebP) in base64; nothing when lost."""
    photo = _read(out / "previews" / "photo" / f"{name}.jpg", cv2.IMREAD_COLOR)
    levels = _read(out / "previews" / "heat" / f"{name}.png", cv2.IMREAD_GRAYSCALE)
    if photo is None or levels is None:
        return {}
    small = shrink(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), side)
    layer = heat_layer(shrink(levels, heat_side))
    return {
        "p": _base64(to_jpeg(small, quality)),
        "q": _base64(to_image(".webp", layer, cv2.IMWRITE_WEBP_QUALITY, 70)),
    }


def _compared(out: Path, name: str) -> dict[str, str]:
    """What each piece of evidence says (`l`), and the likest place of the most similar image (`x`), JPEG in base64."""
    files = {
        "l": out / "previews" / "parts" / f"{name}.jpg",
        "x": out / "previews" / "likest" / f"{name}.jpg",
    }
    return {key: _base64(path.read_bytes()) for key, path in files.items() if path.is_file()}


def _read(path: Path, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (OSError, cv2.error):
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _judging(run: dict[str, Any]) -> dict[str, Any]:
    """What the page tries other thresholds by: the good parts' median and spread, colours, levels, smallest defect."""
    settings = run.get("settings") or {}
    usual = run.get("usual")
    return {
        "usual": usual if usual and usual[1] > 0 else None,
        "maskThreshold": settings.get("mask_threshold"),
        "scale": run.get("color_scale"),
        "least": [settings.get("min_area") or 0, settings.get("min_size") or 0],
    }


def _drift(found: dict[str, Any] | None) -> dict[str, Any] | None:
    """The drift of a run with the line of its plot, 0..600 across and 0..88 down, logarithmic to the alarm's level."""
    if not found or len(found["capitals"]) < 2:
        return None
    level, last = np.log(found["alarm_level"]), len(found["capitals"]) - 1
    heights = np.clip(np.log(np.maximum(found["capitals"], 1e-6)), -level, 1.2 * level)
    places = [
        f"{600 * i / last:.1f},{84 - 80 * (height + level) / (2.2 * level):.1f}"
        for i, height in enumerate(heights)
    ]
    return found | {"points": " ".join(places), "alarm_y": round(84 - 80 * 2 / 2.2, 1)}


def _legend() -> list[str]:
    """The colours of the scale from background over threshold to the top, as CSS."""
    levels = np.linspace(0, 255, 18).astype(np.uint8)[None]
    assert THRESHOLD_LEVEL == 128  # the page writes the threshold under the middle of the legend
    return [f"rgb({r} {g} {b} / {a / 255:.2f})" for r, g, b, a in heat_layer(levels)[0].tolist()]
