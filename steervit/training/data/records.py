"""One training example, a `Record`, and `Records`: millions of them as rows of one memory-mapped table.

Knows how to read images and masks, and nothing of where a data set keeps them (see `sources`).
Images are taken as they are stored, without turning them as EXIF says: the masks were drawn on those pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from steervit.training.masks.run_length import Mask, MaskError, unpack

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")


class RecordError(ValueError):
    """A record whose image or mask cannot be read; the message names the file and the reason."""


def read_pixels(path: Path) -> np.ndarray:
    """RGB uint8 H x W x 3. Raises `RecordError`."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return np.array(image.convert("RGB"))
    except Exception as error:  # Pillow reports damage in a dozen ways
        raise RecordError(f"cannot read the image {path} ({error}): fetch it again") from error


class Picture(Protocol):
    """An image that is no file, such as a rendered scene."""

    def load(self) -> np.ndarray:
        """RGB uint8 H x W x 3."""
        ...


@dataclass(frozen=True)
class Record:
    """An image, a sentence about something in it, and where that is."""

    image: Path | Picture
    expression: str
    mask: Mask
    source: str
    image_id: str

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """The image, RGB uint8 H x W x 3, and its mask, bool H x W. Raises `RecordError`."""
        image = self.load_image()
        return image, self._mask(image.shape[:2])

    def load_image(self) -> np.ndarray:
        """RGB uint8 H x W x 3. Raises `RecordError`."""
        if not isinstance(self.image, Path):
            return self.image.load()
        return read_pixels(self.image)

    def _mask(self, size_hw: tuple[int, ...]) -> np.ndarray:
        try:
            return self.mask.decode((size_hw[0], size_hw[1]))
        except MaskError as error:
            name = f"{self.expression!r} in {self.source}, image {self.image_id}"
            raise RecordError(f"cannot read the mask of {name}: {error}") from error


@dataclass(frozen=True)
class MissingReport:
    """What a source names and the disk lacks. `records` and `images` count all, present or not.

    `missing_masks` counts regions left out because no mask was made for them, or not one good enough.
    """

    source: str
    records: int
    images: int
    missing_records: int = 0
    missing_images: tuple[str, ...] = ()
    missing_masks: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.missing_images or self.missing_masks)

    def __str__(self) -> str:
        parts = [f"{self.source}: {self.records:,} expressions on {self.images:,} images"]
        if self.missing_images:
            parts.append(
                f"{len(self.missing_images):,} images are missing (first {self.missing_images[0]}), "
                f"so {self.missing_records:,} expressions are left out"
            )
        if self.missing_masks:
            parts.append(f"{self.missing_masks:,} regions have no mask and are left out")
        return "; ".join(parts)


class Records(Sequence[Record]):
    """The rows of an Arrow table whose images are on disk. Columns: those of `index.Row`.

    `find` gives the paths at which the image of a row's `image` key may lie, the likeliest first; it is
    asked once per image. Rows without an image or a mask are not among the records: `missing` counts them.
    """

    def __init__(
        self, table: Any, source: str, find: Callable[[str], Iterable[Path]], file: Path | None = None
    ) -> None:
        self.file = file  # where the table is mapped from, if it is
        self._table = table
        keys = table.column("image").combine_chunks().dictionary_encode()
        names: list[str] = keys.dictionary.to_pylist()
        codes = keys.indices.to_numpy(zero_copy_only=False)
        listing = _Listing()
        wanted = [[str(path) for path in find(name)] for name in names]
        paths = [next((path for path in tried if listing.holds(path)), None) for tried in wanted]
        there = np.array([path is not None for path in paths], bool)
        self._paths = paths
        self._codes = codes
        masked = table.column("mask").is_valid().to_numpy()
        present = there[codes] if len(codes) else masked
        self._rows = np.flatnonzero(present & masked)
        self.missing = MissingReport(
            source,
            len(codes),
            len(names),
            int((~present).sum()),
            tuple(tried[0] for tried, path in zip(wanted, paths, strict=True) if path is None),
            int((~masked).sum()),
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = int(self._rows[index])
        cells = {name: self._table.column(name)[row].as_py() for name in ("image_id", "source", "expression")}
        path = self._paths[self._codes[row]]
        assert path is not None  # such rows were left out above
        return Record(Path(path), mask=unpack(self._table.column("mask")[row].as_py()), **cells)

    def expressions(self) -> Iterator[str]:
        """The sentences of all records, in order, with repetitions; reads no images."""
        column = self._table.column("expression")
        for row in self._rows:
            yield column[int(row)].as_py()

    def __getstate__(self) -> dict:
        # Another process maps the file itself; handing it the table would copy gigabytes.
        return {**vars(self), "_table": None if self.file else self._table}

    def __setstate__(self, state: dict) -> None:
        from steervit.training.data.index import mapped

        vars(self).update(state)
        if self.file:
            self._table = mapped(self.file)


class _Listing:
    """Which files exist, listing each folder once: a question per file is slow on network disks."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def holds(self, path: str) -> bool:
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(entry.name for entry in os.scandir(folder or "."))
            except OSError:
                self._names[folder] = frozenset()
        return name in self._names[folder]
