"""Fetches the picture of an entry, wherever it lies, and decodes it as a run over files does. Knows no model."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.archive import tars
from anomaly.archive.entry import Entry
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
    if "\0" in entry.path:
        raise ImageError(entry.path, "no file can have this name")
    if not is_url(entry.path):
        return Picture(entry, read_image(entry.path))
    data = _fetched(entry)
    # Through a file: pictures of every kind are decoded by one piece of code, and that reads files.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"picture{Path(entry.path.split('::')[0]).suffix}"
        file.write_bytes(data)
        try:
            return Picture(entry, read_image(file))
        except ImageError as error:
            raise ImageError(entry.path, error.reason) from error


@contextmanager
def _told(entry: Entry) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, KeyError) as error:
        raise ImageError(entry.path, "no such file") from error
    except (OSError, tarfile.TarError) as error:
        raise SteerAnomalyError(f"cannot be fetched: {error}") from error


def _fetched(entry: Entry) -> bytes:
    with _told(entry):
        if entry.path.startswith(tars.SCHEME):
            return tars.read_member(entry)
        store, inside = store_of(entry.path)
        return patiently(lambda: store.cat_file(inside))
