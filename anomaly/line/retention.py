"""Keeps a result folder from filling the disk: deletes the oldest maps and pictures in it, never the journal.

It deletes only below the folders that it is given: what the tool itself has written. Photographs in a watched folder
are not ours, unless they were sorted and somebody asks for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OURS = ("heatmaps", "masks", "overlays", "previews", "photos")


@dataclass(frozen=True)
class Limits:
    """Keep files for `days`, and at most `size` bytes of them in all; None does not limit."""

    days: float | None = None
    size: int | None = None


def forget(folders: Sequence[Path], limits: Limits) -> tuple[int, int]:
    """Delete below `folders` what is beyond the limits, the oldest first; how many files and bytes that were."""
    files = sorted(_files(folders))
    left, now = sum(size for _, size, _ in files), time.time()
    count = freed = 0
    for changed, size, path in files:
        old = limits.days is not None and now - changed > limits.days * 86_400
        if not old and (limits.size is None or left <= limits.size):
            break
        try:
            path.unlink(missing_ok=True)
        except OSError:  # of another user, or open in another program: the next one
            continue
        left, count, freed = left - size, count + 1, freed + size
    return count, freed


class Forgetting:
    """`forget`, in a thread of its own, at once and then every `every` seconds until it is closed."""

    def __init__(self, folders: Sequence[Path], limits: Limits, every: float = 300.0) -> None:
        self._folders, self._limits, self._every = folders, limits, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Delete no more."""
        self._stop.set()
        self._thread.join(30)

    def _go_on(self) -> None:
        while not self._stop.is_set():
            forget(self._folders, self._limits)
            self._stop.wait(self._every)


def _files(folders: Sequence[Path]) -> list[tuple[float, int, Path]]:
    """Time of change, bytes and path of each file; what another thread removes or is writing is passed over."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                status = path.lstat()
            except OSError:
                continue
            if path.name.startswith(".") or not path.is_file() or path.is_symlink():
                continue
            found.append((status.st_mtime, status.st_size, path))
    return found
