"""Turns results into the bytes of files: JPEG, PNG, float TIFF. Knows nothing of where they go."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

# Differences of neighbours, then deflate: half the size of the values themselves. Of the compressions that OpenCV
# writes, it is the one that tifffile reads without a further package; Pillow reads it too.
_TIFF = (
    cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_ADOBE_DEFLATE,
    cv2.IMWRITE_TIFF_PREDICTOR, cv2.IMWRITE_TIFF_PREDICTOR_HORIZONTAL,
)  # fmt: skip
_TIFF_UNCOMPRESSED = (cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE)


def to_jpeg(image: np.ndarray, quality: int) -> bytes:
    """RGB uint8 H x W x 3 as a JPEG file; `quality` 0 to 100."""
    return to_image(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, quality)


def to_png(image: np.ndarray) -> bytes:
    """uint8 H x W, RGB H x W x 3 or RGBA H x W x 4 as a PNG file."""
    return to_image(".png", image)


def to_mask_png(mask: np.ndarray) -> bytes:
    """bool H x W as a PNG file of 0 and 255."""
    return to_png(mask.astype(np.uint8) * 255)


def to_image(extension: str, array: np.ndarray, *options: int) -> bytes:
    """`array` (uint8 H x W, or RGB H x W x 3, or RGBA H x W x 4) as an image file.

    `extension` such as `.jpg` names the format, `options` are pairs of OpenCV's `IMWRITE_...` and a value.
    """
    if array.ndim == 3:
        code = cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        array = cv2.cvtColor(array, code)
    return _encoded(extension, array, options)


def to_float_tiff(heatmap: np.ndarray, compress: bool = True) -> bytes:
    """H x W as a single-channel float32 TIFF; compression loses nothing."""
    options = _TIFF if compress else _TIFF_UNCOMPRESSED
    return _encoded(".tiff", np.ascontiguousarray(heatmap, np.float32), options)


def _encoded(extension: str, array: np.ndarray, options: Iterable[int]) -> bytes:
    done, data = cv2.imencode(extension, array, list(options))
    if not done:
        raise ValueError(f"expected an array that {extension} can hold, got {array.dtype} {array.shape}")
    return data.tobytes()
