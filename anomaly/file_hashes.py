"""SHA-256 of weights files, computed once: large files are remembered by path, size and time of change.

Without a cache folder that can be written, every hash is computed anew; nothing else changes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from steervit.files import sha256_of, write_whole

LARGE = 50_000_000  # bytes from which reading the file again takes longer than asking


def file_hash(path: Path) -> str:
    """The SHA-256 of `path` in hex. Raises `OSError` when it cannot be read."""
    stat = path.stat()
    if stat.st_size < LARGE:
        return sha256_of(path)
    key, stamp = os.fspath(path.resolve()), [stat.st_size, stat.st_mtime_ns]
    known = _remembered()
    if key in known and known[key][:2] == stamp:
        return known[key][2]
    digest = sha256_of(path)
    with suppress(OSError):
        _remember(known | {key: [*stamp, digest]})
    return digest


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "steer-anomaly" / "hashes.json"


def _remembered() -> dict[str, list]:
    try:
        content = json.loads(_cache().read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if len(value) == 3}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(known: dict[str, list]) -> None:
    write_whole(_cache(), json.dumps(known))
