"""The journal of a result folder: `results.jsonl`, one line of JSON per image, appended as images are done.

Knows lines and files only. A process that dies leaves at worst one torn last line, dropped on opening.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from anomaly.errors import SteerAnomalyError

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

Record = dict[str, Any]


class Journal:
    """Records by the absolute path of their image, in order of first appearance; the last one written counts.

    Raises `SteerAnomalyError` when another process has the journal open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)
        _lock(self._file, path)
        lines, end = read_lines(path)
        self._file.truncate(end)
        self.records = {record["path"]: record for record in lines}

    def append(self, record: Record) -> None:
        """Add a line, whole or not at all: when the disk is full the `OSError` leaves the file as it was."""
        line = to_line(record)
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            self._file.truncate(end)
            raise
        self.records[record["path"]] = record

    def clear(self) -> None:
        """Forget every record."""
        self._file.truncate(0)
        self.records = {}

    def compact(self) -> None:
        """Rewrite the file with one line per image; to be closed after."""
        data = b"".join(to_line(record) for record in self.records.values())
        write_atomically(self.path, lambda file: file.write(data))

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> tuple[list[Record], int]:
    """The records in `path`, and the offset where its last whole line ends.

    What is no record is passed over: a torn end after a crash, zeros after a power cut.
    """
    records: list[Record] = []
    end = 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        end += len(line) + 1
        try:
            record = json.loads(line.decode("utf-8", "surrogateescape"))
        except ValueError:
            continue
        if isinstance(record, dict) and "path" in record:
            records.append(record)
    return records, end


def to_line(record: Record) -> bytes:
    # Names on disk need not be UTF-8; surrogateescape writes their bytes back as they were.
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` with a temporary file beside `path`, then move it: readers see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _lock(file: BinaryIO, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise SteerAnomalyError(
            f"another run is writing to {path.parent}; wait for it or choose another folder with --out"
        ) from error
    except OSError:
        pass  # a file system without locks
