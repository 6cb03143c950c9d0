"""Reads an image file of any common kind into RGB uint8, or says why it cannot be done.

Knows nothing of models or of what is in the picture. What the file leaves open is decided here: transparent
images are laid on white; CMYK is converted without its colour profile; 16-bit values are scaled from the full
range 0-65535, or from 0-4095 when no value is above (12-bit cameras store that in 16-bit files); float images
may hold 0-1, 0-255 or 0-65535; of files with several pages or frames the first is read.
"""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from anomaly.errors import SteerAnomalyError

MAX_PIXELS = 400_000_000
# Only bitmap formats: Pillow would otherwise start Ghostscript for an EPS file called .png.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
_opening = threading.Lock()


class _Quiet:
    """Ignores warnings while any thread is inside.

    `warnings.catch_warnings` alone swaps a list that all threads share; two at once may leave it swapped.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_quiet = _Quiet()


class ImageError(SteerAnomalyError):
    """An image that cannot be read: `path`, and `reason`, one short sentence. The other images can go on."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"cannot read the image {os.fspath(path)}: {reason}")
        self.path = Path(path)
        self.reason = reason


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The picture in `path` as RGB uint8 H x W x 3, turned as its EXIF orientation says.

    May be called from several threads at once.

    Raises `ImageError` when the file is missing, empty, truncated, of another kind, has pixels without a
    meaning (NaN, negative), or has more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _quiet, _open(path) as image:  # what decoders note about metadata does not concern the pixels
            array = _load(image, path)
        return np.require(_to_rgb_uint8(array), requirements=["C", "W"])
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(path, "not enough memory to decode it") from error
    except _Unusable as error:
        raise ImageError(path, str(error)) from error
    except Exception as error:  # decoders meet broken files with anything: OSError, SyntaxError, struct.error
        raise ImageError(path, f"damaged or incomplete file ({_one_line(error)})") from error


def as_rgb(picture: np.ndarray | Image.Image | str | os.PathLike[str], channels: str = "rgb") -> np.ndarray:
    """A picture of any kind as RGB uint8 H x W x 3.

    A path is read by `read_image`, a PIL image is converted; an array is uint8 H x W x 3 in the order of
    `channels` ("rgb", or "bgr" as OpenCV has it), or H x W or H x W x 1, grey. Raises `SteerAnomalyError` for
    other arrays, `ImageError` for files.
    """
    if isinstance(picture, str | os.PathLike):
        return read_image(picture)
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(picture)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise SteerAnomalyError(
            f"expected RGB images, uint8 H x W x 3 (or grey, H x W), got {array.dtype} "
            f"{'x'.join(map(str, array.shape))}; a path is read as one"
        )
    if channels not in ("rgb", "bgr"):
        raise SteerAnomalyError(f"expected channels to be 'rgb' or 'bgr', got {channels!r}")
    return np.ascontiguousarray(array[..., ::-1]) if channels == "bgr" else array


def size_hw(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the picture that `read_image` gives, from the file's head alone.

    Raises `ImageError` when it is missing, no image, or has more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _quiet, _open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the sides
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(path, f"damaged or incomplete file ({_one_line(error)})") from error
    return (width, height) if turned else (height, width)


class _Unusable(ValueError):
    """Decoded, but not a picture that can be inspected."""


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(path, "it is a folder")
        if path.stat().st_size == 0:
            raise ImageError(path, "the file is empty (0 bytes)")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise ImageError(path, "no such file") from error
    except OSError as error:
        raise ImageError(path, error.strerror or str(error)) from error


def _open(path: Path) -> Image.Image:
    """Pillow's lazily opened image. Its own pixel limit is global: it is lifted under a lock and put back."""
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            raise ImageError(path, f"not an image of a known format ({', '.join(FORMATS)})") from error
        finally:
            Image.MAX_IMAGE_PIXELS = before
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ImageError(
            path, f"{width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million that are read"
        )
    return image


def _load(image: Image.Image, path: Path) -> np.ndarray:
    """Pixels in their own depth: uint8, uint16, int32 or float; H x W (grey) or H x W x 3 (RGB)."""
    if _is_deep_colour(image):
        return _load_deep_colour(image, path)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return np.asarray(image)
    if image.mode == "1":
        image = image.convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether these are colours of 16 bits and more, of which Pillow would keep the high byte only."""
    if image.format == "PNG":
        # After opening, a PNG's raw mode names the depth: "RGB;16B", "RGBA;16B", "LA;16B".
        return image.mode != "I;16" and any("16" in str(tile[3]) for tile in image.tile)  # type: ignore[attr-defined]
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]  # BitsPerSample
        return len(bits) > 1 and max(bits) > 8
    return False


def _load_deep_colour(image: Image.Image, path: Path) -> np.ndarray:
    orientation = image.getexif().get(274, 1)
    data = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    array = cv2.imdecode(data, flags)
    if array is None:
        raise _Unusable("16-bit colour in a layout that cannot be decoded; convert it to PNG")
    if image.format != "TIFF":  # OpenCV turns TIFF by itself
        array = _turn(array, orientation)
    if array.ndim == 2:
        return array
    if array.shape[2] == 4:
        array = _on_white(array)
    return array[..., ::-1]


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo EXIF orientation 1-8 (TIFF 6.0, tag 274)."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _on_white(array: np.ndarray) -> np.ndarray:
    top = float(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else 1.0
    alpha = array[..., 3:].astype(np.float32) / top
    colour = array[..., :3].astype(np.float32) * alpha + top * (1 - alpha)
    return colour.round().astype(array.dtype) if array.dtype.kind == "u" else colour


def _to_rgb_uint8(array: np.ndarray) -> np.ndarray:
    if array.size == 0:
        raise _Unusable("it has no pixels")
    if array.dtype != np.uint8:
        array = _to_uint8(array)
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def _to_uint8(array: np.ndarray) -> np.ndarray:
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _Unusable("it holds pixels that are not numbers (NaN or infinite)")
    if low < 0 or high > 65535:
        raise _Unusable(f"expected pixel values 0-1, 0-255 or 0-65535, found {low:g} to {high:g}")
    top = _full_scale(array.dtype, float(high))
    return (array.astype(np.float32) * (255.0 / top)).round().astype(np.uint8)


def _full_scale(dtype: np.dtype, high: float) -> float:
    if dtype.kind == "f" and high <= 1:
        return 1.0
    if dtype.kind == "f" and high <= 255:
        return 255.0
    return 4095.0 if high <= 4095 else 65535.0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
