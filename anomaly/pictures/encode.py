"""Turns results into the bytes of files: JPEG, PNG, float TIFF, CSV. Knows nothing of where they go."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import tifffile

CSV_COLUMNS = (
    "file", "verdict", "score", "threshold", "regions", "largest_area_px",
    "milliseconds", "object", "model", "error",
)  # fmt: skip


def to_image(extension: str, array: np.ndarray, *options: int) -> bytes:
    """`array` (uint8 H x W, or RGB H x W x 3, or RGBA H x W x 4) as an image file.

    `extension` such as `.jpg` names the format, `options` are pairs of OpenCV's `IMWRITE_...` and a value.
    """
    if array.ndim == 3:
        code = cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        array = cv2.cvtColor(array, code)
    done, data = cv2.imencode(extension, array, list(options))
    if not done:
        raise ValueError(f"expected an array that {extension} can hold, got {array.dtype} {array.shape}")
    return data.tobytes()


def to_float_tiff(heatmap: np.ndarray) -> memoryview:
    """H x W as a single-channel float32 TIFF.

    Not compressed: what OpenCV compresses tifffile cannot read without a further package; zlib saves a tenth.
    """
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.ascontiguousarray(heatmap, np.float32), photometric="minisblack")
    return buffer.getbuffer()


def to_csv(records: Iterable[dict[str, Any]]) -> bytes:
    """Journal records as a table of `CSV_COLUMNS`; `regions` is their number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    for record in records:
        areas = [region["area"] for region in record["regions"]]
        row = record | {"regions": len(areas), "largest_area_px": max(areas, default=0)}
        writer.writerow([row.get(column) for column in CSV_COLUMNS])
    return text.getvalue().encode("utf-8", "surrogateescape")
