"""Files written whole or not at all, and their hashes. Knows nothing of what is in them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file at `path`, in hex; read in pieces, so its size does not matter."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_whole(path: Path, content: bytes | memoryview | str | Callable[[Path], Any]) -> None:
    """Put bytes, text (as UTF-8), or what a function writes to the path it is given, at `path` in one step.

    Folders on the way are made. When writing fails, whatever was at `path` is untouched and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _new_file(path.parent)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file(folder: Path) -> Path:
    """An empty file of a name not taken, for everyone the umask leaves it to (tempfile's is for its owner only)."""
    while True:
        path = folder / f".{secrets.token_hex(8)}.part"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return path
