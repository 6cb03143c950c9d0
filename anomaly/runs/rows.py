"""What an evaluation has done so far, one JSON line per image, so that a killed run goes on where it was.

Each process appends to its own file; a line that was cut short counts as not written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read(folder: Path, category: str) -> dict[str, dict[str, Any]]:
    """The last row of each image of `category`, by key, from all processes' files."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(f"{safe_name(category)}.*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            if row := _parse(line):
                rows[row["key"]] = row
    return rows


def append(folder: Path, category: str, rank: int, rows: Iterable[dict[str, Any]]) -> None:
    """Adds rows, each with a `key`, in one write."""
    path = folder / f"{safe_name(category)}.{rank}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("ab") as file:
        # The newline ends a line that a killed run may have left unfinished.
        file.write(b"\n" + text.encode())


def safe_name(category: str) -> str:
    """The category as part of a file name."""
    return category.replace("/", "_")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "key" in row else None
