"""`csv:FILE`: a line per verdict at the end of a table, on disk when it is delivered."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.line.sinks.delivery import SinkDown

COLUMNS = (
    "time", "verdict", "score", "threshold", "p_value", "spreads", "regions", "file", "object", "profile", "source",
    "error", "id",
)  # fmt: skip


class CsvSink:
    """A file that may be moved away at any time: the next line begins a new one, with a header."""

    newest_only = False

    def __init__(self, url: str) -> None:
        name = url.partition(":")[2]
        if not name:
            raise SteerAnomalyError("expected csv:FILE, got no file")
        self.path = Path(name)
        if self.path.is_dir():
            raise SteerAnomalyError(f"expected csv:FILE, but {self.path} is a folder")

    def deliver(self, message: dict[str, Any]) -> None:
        """Append the line. Raises `SinkDown` while the file cannot be written, such as one that is open in Excel."""
        values = message | {"regions": len(message.get("regions") or ())}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                end = file.seek(0, os.SEEK_END)
                rows = [COLUMNS] * (end == 0) + [tuple(values.get(column) for column in COLUMNS)]
                torn = end and (file.seek(end - 1), file.read(1))[1] != b"\n"
                file.write(b"\r\n" * bool(torn) + _lines(rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkDown(f"cannot write {self.path}: {error.strerror or error}") from error

    def idle(self) -> None:
        """Nobody asks whether we are there."""

    def close(self) -> None:
        """Nothing is open between lines."""


def _lines(rows: list[tuple[Any, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
