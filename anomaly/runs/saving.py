"""Files of a run: written whole or not at all, and what to do when the disk says no. Knows nothing of images."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from steervit.files import write_whole


class OutputError(SteerAnomalyError):
    """The result folder cannot be used or written to; says what to do and that what was done is kept."""


def save(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, whole or not at all, making its folder. Raises `OSError`."""
    write_whole(path, data)


def save_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, whole or not at all. Raises `OSError`, `ValueError` for NaN and infinity."""
    save(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


@contextmanager
def explained(what: str, out: Path, done: int | None = 0) -> Iterator[None]:
    """Turn an `OSError` while `what` is written below `out` into an `OutputError` that says what to do.

    `done` is the number of images whose results are kept, None where that is not known.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(_advice(error, out, what, done)) from error


def _advice(error: OSError, out: Path, what: str, done: int | None) -> str:
    reason = error.strerror or str(error)
    kept = "nothing was written yet" if done == 0 else f"{done or 'the finished'} images are done and kept"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: cannot write {what} in {out} ({reason}); {kept}. "
            "Free some space and run the same command again to go on"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        place = error.filename or out
        return f"expected a folder for the results, but {place} is a file; choose another one"
    return f"cannot write {what} in {out}: {reason}; {kept}. Make it writable or choose another folder"
