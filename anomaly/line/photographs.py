"""Frames as files: what is judged is what is kept, so that any other command gives a photograph the same verdict."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from anomaly.line.arrivals import Arrival
from anomaly.line.frames import Frame
from anomaly.pictures.encode import to_jpeg
from anomaly.pictures.suffixes import is_image_name
from anomaly.runs.saving import save
from anomaly.runs.stamps import stamp_of

QUALITY = 95  # of the JPEGs


def save_frame(folder: Path, frame: Frame) -> Arrival:
    """Write a frame below `folder`, by its day and time in UTC; whole or not at all. Raises `OSError`."""
    path = path_of(folder, frame)
    save(path, to_jpeg(frame.image, QUALITY))
    return Arrival(path, stamp_of(path), 0.0)


def path_of(folder: Path, frame: Frame) -> Path:
    """Where a frame is written, or would have been."""
    moment = datetime.fromtimestamp(frame.time, UTC)
    clock = f"{moment:%H%M%S}-{moment.microsecond // 1000:03}"
    return folder / f"{moment:%Y-%m-%d}" / f"{clock}-{frame.number:06}.jpg"


def left_over(folder: Path) -> Iterator[Arrival]:
    """Every photograph below `folder`, the oldest first."""
    for path in sorted(folder.rglob("*")):
        if is_image_name(path.name) and path.is_file():
            yield Arrival(path, stamp_of(path), 0.0)
