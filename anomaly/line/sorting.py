"""Moves judged pictures to `ok/`, `defect/` and `unfit/`, and never over another file. Knows no images.

A move is a rename: whatever stops it, the file lies in one place or the other, whole.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path

FOLDERS = ("ok", "defect", "unfit")
_NO_REPLACE, _HERE = 1, -100  # RENAME_NOREPLACE and AT_FDCWD of Linux


class Sorter:
    """Where each picture below `root` goes: what could not be judged or even read goes to `unfit/`, never to `ok/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._given: set[Path] = set()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where pictures are moved to."""
        return tuple(self.root / name for name in FOLDERS)

    def place(self, path: Path, verdict: str, taken: Callable[[Path], bool]) -> Path:
        """Where a picture with this verdict will lie; a place that is free, not `taken`, and given to no other."""
        wanted = self.root / (verdict if verdict in FOLDERS else "unfit") / path.relative_to(self.root)
        tries = chain([wanted], (wanted.with_stem(f"{wanted.stem}-{number}") for number in count(2)))
        free = next(
            one for one in tries if one not in self._given and not taken(one) and not os.path.lexists(one)
        )
        self._given.add(free)
        return free

    def move(self, path: Path, place: Path) -> None:
        """Move it there. Raises `FileExistsError` when another file has come to lie there, `OSError`."""
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            rename_new(path, place)
        except FileExistsError:
            if place.stat().st_size or not path.stat().st_size:
                raise
            path.replace(place)  # the empty file that an earlier move, cut short, held the name with
        self._given.discard(place)


def rename_new(source: Path, target: Path) -> None:
    """Rename, but never onto a file that is there. Raises `FileExistsError`, `OSError`."""
    if os.name == "nt":
        source.rename(target)  # refuses by itself
        return
    if sys.platform.startswith("linux") and _renamed_by_linux(source, target):
        return
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        source.replace(target)  # onto the empty file that holds the name for us
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _renamed_by_linux(source: Path, target: Path) -> bool:
    """Whether renameat2(2) did it; False where the file system or the C library does not have it."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(source), _HERE, os.fsencode(target), _NO_REPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))
