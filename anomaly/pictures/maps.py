"""Anomaly maps as files: float32 TIFF out, TIFF, NPY or PNG in. Knows no model and no metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

    with tifffile.TiffFile(path) as file:
        ours = _ours(file)
        return file.asarray() if ours is None else ours


def _ours(file: Any) -> np.ndarray | None:
    """A map that `to_float_tiff` compressed, a third of the time that tifffile takes; None for any other."""
    from anomaly.pictures.encode import deflate

    page = file.pages[0]
    tags = (page.compression, page.predictor, page.dtype, page.samplesperpixel, page.is_tiled, file.byteorder)
    if len(file.pages) != 1 or tags != (8, 2, np.float32, 1, False, "<"):
        return None
    segments = file.filehandle.read_segments(page.dataoffsets, page.databytecounts)
    strips = [deflate.decompress(strip) for strip, _ in segments]
    bits = np.frombuffer(b"".join(strips), "<i4").reshape(page.shape)
    return np.cumsum(bits, 1, np.int32).view(np.float32)


def _single_channel(score_map: np.ndarray, path: Path) -> np.ndarray:
    squeezed = score_map.squeeze() if score_map.ndim == 3 and 1 in score_map.shape else score_map
    if squeezed.ndim != 2 or squeezed.dtype.kind not in "fiub":
        raise SteerAnomalyError(
            f"{path}: expected one real number per pixel (H x W), found {score_map.dtype} of shape "
            f"{score_map.shape}. A coloured picture of a map cannot be scored: write the values themselves"
        )
    return squeezed
