"""A journal: one line of JSON per image in one file, appended as images are done. Under every run that resumes.

Knows lines and files only. A process that dies leaves at worst one torn last line, dropped on opening.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from anomaly.errors import SteerAnomalyError
from anomaly.runs.saving import save

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

Line = dict[str, Any]


class Journal:
    """Lines by the value of their field `key`, in order of first appearance; the last one written counts.

    Makes the file and its folder. Raises `SteerAnomalyError` when another process has the journal open,
    `OSError` when it cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        _lock(self._file, path)
        lines, end = read_lines(path, key)
        self._file.truncate(end)
        self.lines = {line[key]: line for line in lines}

    def append(self, line: Line) -> None:
        """Add a line, whole or not at all: when the disk is full the `OSError` leaves the file as it was."""
        data = _to_bytes(line)
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            self._file.truncate(end)
            raise
        self.lines[line[self.key]] = line

    def clear(self) -> None:
        """Forget every line."""
        self._file.truncate(0)
        self.lines = {}

    def compact(self) -> None:
        """Rewrite the file with one line per image; to be closed after."""
        save(self.path, b"".join(map(_to_bytes, self.lines.values())))

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path, key: str) -> tuple[list[Line], int]:
    """The lines in `path` that have the field `key`, and the offset where its last whole line ends.

    What is no such line is passed over: a torn end after a crash, zeros after a power cut.
    """
    lines: list[Line] = []
    end = 0
    for data in path.read_bytes().split(b"\n")[:-1]:
        end += len(data) + 1
        try:
            line = json.loads(data.decode("utf-8", "surrogateescape"))
        except ValueError:
            continue
        if isinstance(line, dict) and key in line:
            lines.append(line)
    return lines, end


def _to_bytes(line: Line) -> bytes:
    # Names on disk need not be UTF-8; surrogateescape writes their bytes back as they were.
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def _lock(file: BinaryIO, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SteerAnomalyError(
            f"another run is writing to {path.parent}; wait for it or choose another folder"
        ) from error
    except OSError:
        pass  # a file system without locks
