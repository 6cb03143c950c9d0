"""Fetches the picture of an entry, wherever it lies, and decodes it as a run over files does. Knows no model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.archive.entries import Entry
from anomaly.archive.places import is_url, patiently, store_of
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.images import ImageError, read_image


@dataclass(frozen=True)
class Picture:
    """An entry and its picture, RGB uint8 H x W x 3."""

    entry: Entry
    image: np.ndarray


def read_picture(entry: Entry) -> Picture:
    """The picture of an entry. Raises `SteerAnomalyError` (an `ImageError` for what is there and no picture)."""
    if entry.offset is None and not is_url(entry.path):
        return Picture(entry, read_image(entry.path))
    data = _fetched(entry)
    # Through a file: pictures of every kind are decoded by one piece of code, and that reads files.
    suffix = Path(entry.path.split("::")[0]).suffix
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        try:
            return Picture(entry, read_image(file.name))
        except ImageError as error:
            raise ImageError(entry.path, error.reason) from error


def _fetched(entry: Entry) -> bytes:
    place = entry.path if entry.offset is None else entry.path.split("::", 1)[1]
    try:
        store, inside = store_of(place)
        if entry.offset is None:
            return patiently(lambda: store.cat_file(inside))
        begin, end = entry.offset, entry.offset + (entry.size or 0)
        return patiently(lambda: store.cat_file(inside, start=begin, end=end))
    except FileNotFoundError as error:
        raise ImageError(entry.path, "no such file") from error
    except OSError as error:
        raise SteerAnomalyError(f"cannot be fetched: {error}") from error
