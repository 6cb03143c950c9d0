"""Looks through a source of training data before a run does: what is missing, damaged, empty or does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steervit.training.data.mixture import shuffled
from steervit.training.data.records import MissingReport, Record, RecordError
from steervit.training.data.sources import read_source


@dataclass(frozen=True)
class SourceProblem:
    """`kind` is one of missing, unreadable, mask, sentence, layout; `message` names the file or record."""

    kind: str
    source: str
    message: str


@dataclass(frozen=True)
class SourceCheck:
    """What a check found. `records` are usable; `looked_at` of them were opened; `mask_share` is the median
    part of the image that a mask covers, 0..1."""

    name: str
    split: str
    records: int
    looked_at: int
    mask_share: float
    missing: MissingReport | None
    problems: tuple[SourceProblem, ...]


def guess_kind(folder: Path) -> str | None:
    """The kind of source whose files `folder` holds, or None."""
    signs = [
        ("refcoco", "refcoco*/refs(*).p"),
        ("lvis", "lvis_v1_*.json"),
        ("lvis", "annotations/lvis_v1_*.json"),
        ("visual_genome", "region_descriptions.json"),
        ("mapillary", "training/v*/panoptic/panoptic_*.json"),
    ]
    for kind, pattern in signs:
        if next(folder.glob(pattern), None) is not None:
            return kind
    return "prepared" if _is_prepared(folder) else None


def check_source(
    name: str,
    config: Mapping[str, Any],
    split: str = "train",
    look_at: int | None = 1000,
    progress: Callable[[Record], None] = lambda record: None,
    index: Path | None = None,
) -> SourceCheck:
    """Read the source `name` with its `config` (as in a recipe) and open `look_at` of its records
    (None: all), in a fixed mixed order. Never raises for bad data: `problems` tells.
    """
    try:
        records = read_source(name, config, split, index).records
    except (ValueError, FileNotFoundError) as error:
        return SourceCheck(name, split, 0, 0, 0.0, None, (SourceProblem("layout", name, str(error)),))
    missing: MissingReport | None = getattr(records, "missing", None)
    problems = _of_report(name, missing)
    count = len(records) if look_at is None else min(look_at, len(records))
    shares: list[float] = []
    for i in range(count):
        record = records[shuffled(i, len(records), 0)]
        progress(record)
        found, share = _look(name, record)
        problems += found
        shares += [share] if share is not None else []
    middle = sorted(shares)[len(shares) // 2] if shares else 0.0
    return SourceCheck(name, split, len(records), count, middle, missing, tuple(problems))


def _of_report(name: str, missing: MissingReport | None) -> list[SourceProblem]:
    if missing is None:
        return []
    problems = [SourceProblem("missing", name, f"{path}: not found") for path in missing.missing_images[:20]]
    if more := len(missing.missing_images) - len(problems):
        problems.append(SourceProblem("missing", name, f"and {more:,} more images"))
    if missing.missing_masks:
        problems.append(SourceProblem("mask", name, f"{missing.missing_masks:,} regions have no mask"))
    return problems


def _look(name: str, record: Record) -> tuple[list[SourceProblem], float | None]:
    where = f"image {record.image_id}, {record.expression!r}"
    problems = []
    if not record.expression.strip():
        problems.append(SourceProblem("sentence", name, f"image {record.image_id}: the sentence is empty"))
    try:
        image = record.load_image()
    except RecordError as error:
        return [*problems, SourceProblem("unreadable", name, str(error))], None
    try:
        mask = record.mask.decode((image.shape[0], image.shape[1]))
    except ValueError as error:
        return [*problems, SourceProblem("mask", name, f"{where}: {error}")], None
    if not mask.any():
        problems.append(SourceProblem("mask", name, f"{where}: the mask is empty"))
    return problems, float(mask.mean())


def _is_prepared(folder: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from steervit.training.data.sources.prepared import COLUMNS

    file = next(folder.rglob("*.parquet"), None)
    if file is None:
        return False
    try:
        return set(COLUMNS) <= set(pq.read_schema(file).names)
    except (pa.ArrowException, OSError):
        return False
