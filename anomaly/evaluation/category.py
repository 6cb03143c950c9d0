"""Runs an inspector over the test images of one category, and keeps every finished image.

Each image's map and journal row are on disk before the next batch begins, so a run killed at any moment loses
the batch in flight at most. `anomaly.evaluation.scoring` computes the metrics from the kept maps, with integer counts
that add up the same in any order: bit-identical however often a run was interrupted and however many
processes shared it. Knows nothing of benchmarks, tables or reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.submission import write_thresholded
from anomaly.inspection import Inspection
from anomaly.pictures.maps import map_path, write_map
from steervit.processes import Processes
from anomaly.runs import rows as journal
from anomaly.testsets.samples import Sample, read_mask


class BatchInspector(Protocol):
    """What an evaluation needs of `anomaly.inspector.Inspector`."""

    def inspect_batch(self, images: list[np.ndarray], object: str) -> list[Inspection]:
        """One inspection per RGB uint8 H x W x 3 image, in order."""

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-able."""


@dataclass(frozen=True)
class TestImages:
    """The test images of one category and what the part is called."""

    __test__ = False  # not a test, whatever pytest makes of the name

    name: str
    object: str
    samples: list[Sample]
    group: str | None = None


@dataclass(frozen=True)
class Problem:
    """An image that was left out, and why. `file` is the image's path."""

    file: str
    reason: str


@dataclass(frozen=True)
class Inspected:
    """What is known after inspecting: one row per image by key, and the images left out."""

    rows: dict[str, dict[str, Any]]
    problems: list[Problem]


def inspect_category(
    inspector: BatchInspector,
    images: TestImages,
    out: Path,
    processes: Processes,
    batch_size: int = 8,
    progress: Callable[[int], None] = lambda count: None,
) -> Inspected:
    """Inspects the images of this process that have no row and map below `out` yet.

    `progress` gets the number of images just finished (all of the finished ones of earlier runs at once). An
    image that cannot be read, a bad mask, or NaN in a map leaves that image out, the others go on; all
    processes return the same rows and problems. Raises `SteerAnomalyError` when a map cannot be written.
    """
    mine = processes.share(images.samples)
    done = finished_rows(out, images)
    pending = [s for s in mine if s.key not in done]
    progress(len(mine) - len(pending))
    problems: list[Problem] = []
    for batch in _loaded(pending, batch_size):
        sound = [b for b in batch if not isinstance(b, Problem)]
        problems += [b for b in batch if isinstance(b, Problem)]
        problems += _inspect_batch(inspector, images, sound, out, processes.rank)
        progress(len(batch))
    gathered = processes.gather(problems)
    return Inspected(finished_rows(out, images), [p for part in gathered for p in part])


def finished_rows(out: Path, images: TestImages) -> dict[str, dict[str, Any]]:
    """The journal's rows that still hold: same image and masks, same object name, and the map is there."""
    rows = journal.read(out / "journal", images.name)
    return {
        s.key: row
        for s in images.samples
        if (row := rows.get(s.key))
        and row["object"] == images.object
        and row["stamp"] == _stamp(s)
        and _is_whole(map_path(out / "maps", images.name, s.key), row["size_hw"])
    }


@dataclass(frozen=True)
class _Loaded:
    sample: Sample
    image: np.ndarray
    mask: np.ndarray | None
    stamp: list[int]


def _loaded(samples: list[Sample], batch_size: int) -> Iterator[list[_Loaded | Problem]]:
    """Batches of images and masks; the next batch is read while one is inspected."""
    batches = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    with ThreadPoolExecutor(1) as reader:
        following = [reader.submit(_load_batch, batch) for batch in batches[:1]]
        for later in [*batches[1:], None]:
            if not following:
                return
            ready = following.pop().result()
            if later is not None:
                following.append(reader.submit(_load_batch, later))
            yield ready


def _load_batch(samples: list[Sample]) -> list[_Loaded | Problem]:
    return [_load(sample) for sample in samples]


def _load(sample: Sample) -> _Loaded | Problem:
    from anomaly.pictures.images import read_image

    try:
        image = read_image(sample.image)
        height, width = image.shape[:2]
        return _Loaded(sample, image, read_mask(sample, (height, width)), _stamp(sample))
    except SteerAnomalyError as error:
        return Problem(str(sample.image), str(error))


def _inspect_batch(
    inspector: BatchInspector, images: TestImages, batch: list[_Loaded], out: Path, rank: int
) -> list[Problem]:
    if not batch:
        return []
    rows, problems = [], []
    inspections = inspector.inspect_batch([item.image for item in batch], images.object)
    for item, inspection in zip(batch, inspections, strict=True):
        if reason := _unusable(item, inspection):
            problems.append(Problem(str(item.sample.image), reason))
            continue
        write_map(map_path(out / "maps", images.name, item.sample.key), inspection.heatmap)
        if item.sample.defective is None and inspection.is_anomalous is not None:
            write_thresholded(out, images.name, item.sample.key, inspection.mask)
        rows.append(_row(item, inspection, images.object))
    journal.append(out / "journal", images.name, rank, rows)
    return problems


def _unusable(item: _Loaded, inspection: Inspection) -> str | None:
    shape = inspection.heatmap.shape
    if shape != item.image.shape[:2]:
        return (
            f"{item.sample.image}: the map has shape {shape}, the image {item.image.shape[:2]}; report this"
        )
    if np.isnan(inspection.heatmap).any() or np.isnan(inspection.score):
        return (
            f"{item.sample.image}: the model gave NaN for this image. Try --precision fp32, or look "
            "for broken "
            "weights (`steer-anomaly models info`)"
        )
    return None


def _row(item: _Loaded, inspection: Inspection, object_name: str) -> dict[str, Any]:
    row = {
        "key": item.sample.key,
        "object": object_name,
        "stamp": item.stamp,
        "size_hw": list(inspection.heatmap.shape),
        "score": float(inspection.score),
        "model": inspection.model,
        "threshold": inspection.threshold,
        "milliseconds": round(float(inspection.milliseconds), 3),
    }
    if inspection.is_anomalous is not None and item.mask is not None:
        row["counts"] = _overlap(inspection.mask, item.mask)
    return row


def _overlap(predicted: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    """Pixels of the thresholded map against the mask; SegF1 adds these up over a category."""
    both = int(np.count_nonzero(predicted & mask))
    return {"tp": both, "fp": int(predicted.sum()) - both, "fn": int(mask.sum()) - both}


def _stamp(sample: Sample) -> list[int]:
    """Size and time of change of the image and its masks: another file under the same name counts anew."""
    stamps = []
    for path in (sample.image, *sample.masks):
        try:
            status = path.stat()
            stamps += [status.st_size, status.st_mtime_ns]
        except OSError:
            stamps += [-1, -1]
    return stamps


def _is_whole(path: Path, size_hw: list[int]) -> bool:
    return path.is_file() and path.stat().st_size >= size_hw[0] * size_hw[1] * 4
