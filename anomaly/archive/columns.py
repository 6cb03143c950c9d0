"""The table's schema, version 1, and the row of an image. Opens no file. docs/archive.md says the same for users.

Rows of images and of errors have the same columns; with an error, all that an inspection says is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from anomaly.archive.entry import Entry
from anomaly.decision.gate import Look
from anomaly.inspection import Inspection, Region
from anomaly.runs.image_files import row_of
from anomaly.runs.rows import ImageRow

VERSION = 1
SIDE = 64  # of the heatmap's thumbnail
IMAGES, ERRORS = "images", "errors"  # the two tables
_REGION = pa.struct(
    [
        ("area", pa.int64()),
        ("x0", pa.int32()),
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("center_x", pa.float64()),
        ("center_y", pa.float64()),
        ("peak", pa.float64()),
    ]
)
_EVIDENCE = pa.struct([("name", pa.string()), ("at_peak", pa.float32()), ("highest", pa.float32())])
_GATE = pa.struct([(field.name, pa.float64()) for field in fields(Look)])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        ("size", pa.int64()),
        ("taken", pa.timestamp("us", tz="UTC")),
        ("object", pa.string()),
        pa.field("verdict", pa.string(), nullable=False),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("spreads", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("regions", pa.list_(_REGION)),
        ("evidence", pa.list_(_EVIDENCE)),
        ("gate", _GATE),
        ("error", pa.string()),
        ("compared_with", pa.int32()),
        ("closest", pa.string()),
        ("unlike", pa.float64()),
        ("mm_per_pixel", pa.float64()),
        ("heatmap", pa.list_(pa.float16(), SIDE * SIDE)),
        ("milliseconds", pa.float32()),
        ("model", pa.string()),
        ("settings_hash", pa.string()),
    ],
    metadata={"steer_anomaly_schema": str(VERSION)},
)
# How files are written: a dictionary of a heatmap's values would cost more than the values.
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["object", "verdict", "error", "closest", "model", "settings_hash"],
    "row_group_size": 1024,
}
_OF_ENTRY = ("id", "path", "version", "size", "taken")


def image_row(entry: Entry, image: np.ndarray, inspection: Inspection, settings_hash: str) -> dict[str, Any]:
    """The row of an inspected image, RGB uint8 H x W x 3."""
    row = row_of(_identity(entry), image, inspection)
    known = {name: getattr(row, name) for name in SCHEMA.names if hasattr(row, name)}
    return (
        known
        | _of_entry(entry)
        | {
            "regions": [_flat(region) for region in row.regions],
            "evidence": [_evidence(name, one, inspection.heatmap) for name, one in inspection.parts.items()],
            "gate": row.look,
            "heatmap": thumbnail(inspection.heatmap),
            "settings_hash": settings_hash,
        }
    )


def error_row(entry: Entry, part: str, verdict: str, reason: str, settings_hash: str) -> dict[str, Any]:
    """The row of an image that could not be read (`unreadable`) or judged (`failed`), and why."""
    told = {"object": part, "verdict": verdict, "error": reason, "settings_hash": settings_hash}
    return dict.fromkeys(SCHEMA.names) | _of_entry(entry) | told


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of `SCHEMA`."""
    rows = list(rows)
    columns = {name: [row[name] for row in rows] for name in SCHEMA.names if name != "heatmap"}
    arrays = [
        _heatmaps([row["heatmap"] for row in rows])
        if field.name == "heatmap"
        else pa.array(columns[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def thumbnail(heatmap: np.ndarray) -> np.ndarray:
    """A heatmap (H, W) as (64 * 64,) float16, row by row: means over the pixels of each cell, whatever the shape.

    Values beyond what half precision holds are cut off.
    """
    height, width = heatmap.shape
    way = cv2.INTER_AREA if height >= SIDE and width >= SIDE else cv2.INTER_LINEAR
    small = cv2.resize(heatmap, (SIDE, SIDE), interpolation=way)
    most = np.finfo(np.float16).max
    return np.clip(small, -most, most).astype(np.float16).ravel()


def to_image_row(row: Mapping[str, Any], name: str) -> ImageRow:
    """A row of the table (as Python values) as a row of a run; `name` is that of its files."""
    known = {field.name: row[field.name] for field in fields(ImageRow) if field.name in row}
    known["heatmap"] = None  # which of a run is a file
    regions = tuple(
        Region(
            one["area"],
            (one["x0"], one["y0"], one["x1"], one["y1"]),
            (one["center_x"], one["center_y"]),
            one["peak"],
        )
        for one in row["regions"] or ()
    )
    parts = {one["name"]: one["at_peak"] for one in row["evidence"] or ()}
    told = {
        "regions": regions,
        "parts": parts,
        "look": row.get("gate"),
        "file": row["path"],
        "name": name,
        "mtime_ns": None,
    }
    return ImageRow(**known | told)


def _identity(entry: Entry) -> dict[str, Any]:
    return {"file": entry.path, "name": entry.id, "path": entry.path, "size": entry.size, "mtime_ns": None}


def _of_entry(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _OF_ENTRY}


def _flat(region: Region) -> dict[str, Any]:
    said = asdict(region)
    (x0, y0, x1, y1), (x, y) = said.pop("box_xyxy"), said.pop("centroid_xy")
    return said | {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "center_x": x, "center_y": y}


def _evidence(name: str, values: np.ndarray, heatmap: np.ndarray) -> dict[str, Any]:
    """How much a piece of evidence says where the heatmap is highest, and at most."""
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    row = int((y + 0.5) / heatmap.shape[0] * values.shape[0])
    column = int((x + 0.5) / heatmap.shape[1] * values.shape[1])
    return {"name": name, "at_peak": float(values[row, column]), "highest": float(values.max())}


def _heatmaps(maps: list[np.ndarray | None]) -> pa.Array:
    empty = np.zeros(SIDE * SIDE, np.float16)
    values = np.concatenate([empty if one is None else one for one in maps]) if maps else empty[:0]
    missing = pa.array([one is None for one in maps], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(values), SIDE * SIDE, mask=missing)
