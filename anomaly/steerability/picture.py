"""A picture of a benchmark: a key that follows from its content, and how its pixels are read. Knows no model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import read_image


@dataclass(frozen=True)
class Picture:
    """`key` is a hex hash of the content, so that equal pictures are one; `read` gives it as RGB."""

    key: str
    read: Callable[[], Image.Image]


def of_file(path: Path) -> Picture:
    """The picture in a file. Raises `SteerAnomalyError` when the file is not there."""
    try:
        key = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SteerAnomalyError(f"expected a picture at {path}: {error.strerror or error}") from error
    return Picture(key, lambda: Image.fromarray(read_image(path)))


def of_bytes(data: bytes, name: str) -> Picture:
    """The picture in the bytes of an image file; `name` is for messages."""
    return Picture(hashlib.sha256(data).hexdigest(), lambda: image_of_bytes(data, name))


def image_of_bytes(data: bytes, name: str) -> Image.Image:
    """The bytes of an image file as RGB. Raises `SteerAnomalyError` for other data; `name` is for its message."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise SteerAnomalyError(f"expected a picture in {name}, got other data: {error}") from error
