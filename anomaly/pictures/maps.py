"""Anomaly maps as files: float32 TIFF out, TIFF, NPY or PNG in. Knows no model and no metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anomaly.errors import SteerAnomalyError
from steervit.files import write_whole

MAP_SUFFIXES = (".tiff", ".tif", ".npy", ".png")


def map_path(folder: Path, category: str, key: str) -> Path:
    """`<folder>/<category>/test/<defect>/<stem>.tiff`, where MVTec's evaluation code looks for a map."""
    return folder / category / f"{key}.tiff"


def write_map(path: Path, score_map: np.ndarray, *, compress: bool) -> None:
    """Writes an H x W map as a float32 TIFF, whole or not at all; compressed without loss when asked for.

    Compressing takes a second for 16 MP and halves the file. Raises `OSError`.
    """
    from anomaly.pictures.encode import to_float_tiff

    write_whole(path, to_float_tiff(score_map, compress))


def read_map(path: Path) -> np.ndarray:
    """A map as H x W float32. PNG values are taken as they are (8 or 16 bit).

    Raises `SteerAnomalyError` naming the file when it is damaged, has several channels, or holds NaN.
    """
    try:
        score_map = _decode(path)
    except Exception as error:  # decoders meet broken files with anything: OSError, ValueError, struct.error
        raise SteerAnomalyError(f"{path}: cannot read the map ({error}); write it again") from error
    score_map = _single_channel(np.asarray(score_map), path)
    if np.isnan(score_map).any():
        raise SteerAnomalyError(
            f"{path}: the map holds NaN in {int(np.isnan(score_map).sum())} of {score_map.size} pixels. "
            "Look for a division by zero where it is made, and write it again"
        )
    return np.ascontiguousarray(score_map, dtype=np.float32)


def _decode(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".png":
        import cv2

        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError("damaged PNG")
        return pixels
    import tifffile

    return tifffile.imread(path)


def _single_channel(score_map: np.ndarray, path: Path) -> np.ndarray:
    squeezed = score_map.squeeze() if score_map.ndim == 3 and 1 in score_map.shape else score_map
    if squeezed.ndim != 2 or squeezed.dtype.kind not in "fiub":
        raise SteerAnomalyError(
            f"{path}: expected one real number per pixel (H x W), found {score_map.dtype} of shape "
            f"{score_map.shape}. A coloured picture of a map cannot be scored: write the values themselves"
        )
    return squeezed
