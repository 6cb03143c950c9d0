"""Whether a file is still what it was: its size and time of change. Opens nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

Stamp = tuple[int | None, int | None]


def stamp_of(path: Path) -> Stamp:
    """Size in bytes and time of change in nanoseconds; None for a file that is gone."""
    try:
        status = Path(path).stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def set_of(files: Mapping[str, Path]) -> str:
    """SHA-256 in hex of files by name as they are now, in whatever order."""
    stamped = sorted([name, *stamp_of(path)] for name, path in files.items())
    return hashlib.sha256(json.dumps(stamped).encode()).hexdigest()
