"""Turns results into the bytes of files: JPEG, PNG, float TIFF. Knows nothing of where they go."""

from __future__ import annotations

import io
from collections.abc import Iterable

import cv2
import numpy as np
import tifffile

try:
    from isal import isal_zlib as deflate  # five times as fast as Python's, at nearly the same size
except ImportError:  # no build of it for every machine
    import zlib as deflate  # type: ignore[no-redef]

_STRIP = 1 << 18  # bytes of each piece that is compressed by itself


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
    """H x W as a single-channel float32 TIFF; compression loses nothing and takes about 10 ms for 1 MP.

    Differences of neighbours' bits, then deflate (TIFF 6.0, predictor 2): half the size of the values. Of the
    compressions that OpenCV reads, it is the one that tifffile reads without a further package; Pillow does too.
    """
    buffer = io.BytesIO()
    if not compress:
        tifffile.imwrite(buffer, np.ascontiguousarray(heatmap, np.float32), photometric="minisblack")
        return buffer.getvalue()
    bits = np.ascontiguousarray(heatmap, np.float32).view(np.int32)
    differences = bits.copy()
    differences[:, 1:] -= bits[:, :-1]
    rows = max(1, _STRIP // (4 * bits.shape[1]))
    strips = (deflate.compress(differences[i : i + rows], 1) for i in range(0, len(bits), rows))
    tifffile.imwrite(
        buffer, strips, shape=bits.shape, dtype=np.int32, rowsperstrip=rows, photometric="minisblack",
        compression="zlib", predictor=2, metadata=None,
    )  # fmt: skip
    buffer.seek(0)
    with tifffile.TiffFile(buffer, mode="r+") as file:
        # tifffile refuses this predictor for floats, though all who read it take the bits as they are.
        file.pages[0].tags["SampleFormat"].overwrite(tifffile.SAMPLEFORMAT.IEEEFP)  # type: ignore[union-attr]
    return buffer.getvalue()


def _encoded(extension: str, array: np.ndarray, options: Iterable[int]) -> bytes:
    done, data = cv2.imencode(extension, array, list(options))
    if not done:
        raise ValueError(f"expected an array that {extension} can hold, got {array.dtype} {array.shape}")
    return data.tobytes()
