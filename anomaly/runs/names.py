"""Names for the files of each image, none of which is another image's on any file system. Opens no file."""

from __future__ import annotations

import os
import unicodedata
from hashlib import sha256
from itertools import chain, count
from pathlib import Path

_LONGEST = 200  # bytes; a file name may have 255, and extensions are added


class Names:
    """Gives each image (by its absolute path) a name, such as `good/007`; `given_before` are those of a run."""

    def __init__(self, given_before: dict[str, str]) -> None:
        self._name_of = dict(given_before)
        self._image_of = {_key(name): path for path, name in given_before.items()}

    def given(self, wanted: str, path: str) -> str:
        """`wanted`, with the extension or a number added when another image has it; an image keeps its own."""
        if path in self._name_of:
            return self._name_of[path]
        name = "/".join(_short(part) for part in wanted.split("/") if part not in ("", ".", ".."))
        tries = chain([name, f"{name}_{Path(path).suffix[1:]}"], (f"{name}_{i}" for i in count(2)))
        free = next(attempt for attempt in tries if _key(attempt) not in self._image_of)
        self._name_of[path], self._image_of[_key(free)] = free, path
        return free


def _key(name: str) -> str:
    # Names that a file system may hold to be one: case on Windows and macOS, composed umlauts on macOS.
    return unicodedata.normalize("NFC", name).casefold()


def _short(part: str) -> str:
    data = os.fsencode(part)
    if len(data) <= _LONGEST:
        return part
    return f"{data[: _LONGEST - 20].decode('utf-8', 'ignore')}_{sha256(data).hexdigest()[:12]}"
