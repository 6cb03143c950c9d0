"""Runs an inspector over the test images of one category, and keeps every finished image's map and scores.

The loop and the journal are those of every run (`anomaly.runs`). `anomaly.evaluation.scoring` computes the figures
from the kept maps, with integer counts that add up the same in any order: bit-identical however often a run was
interrupted and however many processes shared it. Knows nothing of benchmarks, tables or reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomaly.evaluation.labelled import ImageScore, InspectedImage, Overlap, Problem, TestImages, safe_name
from anomaly.evaluation.submission import write_thresholded
from anomaly.inspection import Inspection
from anomaly.pictures.images import read_image
from anomaly.pictures.maps import map_path, write_map
from anomaly.runs import stamps
from anomaly.runs.inspecting import BatchInspector
from anomaly.runs.journal import Journal, read_lines
from anomaly.runs.loop import Failure, inference_workers, inspect_all
from anomaly.runs.saving import explained
from anomaly.testsets.samples import Sample, read_mask
from steervit.files import sha256_of
from steervit.processes import Processes


@dataclass(frozen=True)
class Inspected:
    """What is known after inspecting: the images that count, by key, and those left out."""

    scores: dict[str, ImageScore]
    problems: list[Problem]


@dataclass(frozen=True)
class LoadedSample:
    """A test image and its mask as they were read; `stamp` as in `InspectedImage`."""

    sample: Sample
    image: np.ndarray
    mask: np.ndarray | None
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Category:
    """The images of one category and where their maps and journals lie, below `out`."""

    images: TestImages
    out: Path
    compress: bool = False

    def map_of(self, sample: Sample) -> Path:
        return map_path(self.out / "maps", self.images.name, sample.key)

    def finished(self, key: str | None = None) -> dict[str, InspectedImage]:
        """The journals' images that still hold: same image, masks, object name, set `key`, and the map is there."""
        lines = {line["key"]: line for path in self._journals() for line in read_lines(path, "key")[0]}
        found = {s.key: InspectedImage.from_line(lines[s.key]) for s in self.images.samples if s.key in lines}
        return {
            s.key: done
            for s in self.images.samples
            if (done := found.get(s.key))
            and done.object == self.images.object
            and done.set == key
            and done.stamp == stamp_of(s)
            and self.map_of(s).is_file()
        }

    def journal(self, rank: int) -> Path:
        """The journal of process number `rank`."""
        return self.out / "journal" / f"{safe_name(self.images.name)}.{rank}.jsonl"

    def _journals(self) -> list[Path]:
        """Every process's, compared by name: a category may be called `screws [batch 2]`."""
        folder, start = self.out / "journal", f"{safe_name(self.images.name)}."
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        ranks = [name[len(start) : -len(".jsonl")] for name in names if name.startswith(start)]
        return [self.journal(int(rank)) for rank in sorted(ranks) if rank.isdecimal()]

    def load(self, sample: Sample) -> LoadedSample:
        """Read an image and its mask. Raises `SteerAnomalyError` for one that cannot be read or does not fit."""
        image = read_image(sample.image)
        return LoadedSample(sample, image, read_mask(sample, image.shape[:2]), stamp_of(sample))

    def write(
        self, loaded: LoadedSample, inspection: Inspection, key: str | None = None
    ) -> Callable[[], InspectedImage]:
        """What writes the map of an image and gives its line of the journal; `key` is that of its set."""

        def finish() -> InspectedImage:
            sample = loaded.sample
            with explained(f"the map of {sample.image}", self.out, None):
                write_map(self.map_of(sample), inspection.heatmap, compress=self.compress)
                if sample.defective is None and inspection.is_anomalous is not None:
                    write_thresholded(self.out, self.images.name, sample.key, inspection.mask)
            return InspectedImage(
                sample.key, self.images.object, loaded.stamp, float(inspection.score),
                round(float(inspection.milliseconds), 3), overlap_of(inspection, loaded.mask), key,
            )  # fmt: skip

        return finish


def inspect_category(
    inspector: BatchInspector,
    category: Category,
    processes: Processes,
    batch_size: int = 8,
    progress: Callable[[int], None] = lambda count: None,
) -> Inspected:
    """Inspects the images of this process that have no line and map yet.

    `progress` gets the number of images just finished (all of the finished ones of earlier runs at once). An
    image that cannot be read or judged, or whose mask is bad, is left out, the others go on; all processes
    return the same. Raises `OutputError` when a map cannot be written.
    """
    images = category.images
    share = processes.share(images.samples)
    key = references_key(images)
    done = category.finished(key)
    pending = [s for s in share if s.key not in done]
    progress(len(share) - len(pending))
    problems: list[Problem] = []
    with (
        Journal(category.journal(processes.rank), "key") as journal,
        inference_workers(str(inspector.describe().get("device"))) as workers,
    ):
        for sample, row in inspect_all(
            pending,
            category.load,
            lambda batch: inspector.inspect_batch(batch, images.object),
            lambda loaded, inspection: category.write(loaded, inspection, key),
            batch_size=batch_size,
            workers=workers,
        ):
            if isinstance(row, Failure):
                problems.append(as_problem(sample, row.reason))
            else:
                journal.append(row.to_line())
            progress(1)
    problems = [problem for part in processes.gather(problems) for problem in part]
    return Inspected({key: done.known for key, done in category.finished(key).items()}, problems)


def references_key(images: TestImages) -> str | None:
    """SHA-256 in hex of the references' files, in whatever order; None where there are none."""
    hashes = sorted(map(sha256_of, images.references))
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else None


def stamp_of(sample: Sample) -> tuple[int, ...]:
    """Size and time of change of the image and its masks: another file under the same name counts anew."""
    found = [stamps.stamp_of(path) for path in (sample.image, *sample.masks)]
    return tuple(-1 if value is None else value for stamp in found for value in stamp)


def overlap_of(inspection: Inspection, mask: np.ndarray | None) -> Overlap | None:
    """The inspection's mask against the true one (bool H x W); None where no verdict was given, or no mask is known."""
    if inspection.is_anomalous is None or mask is None:
        return None
    both = int(np.count_nonzero(inspection.mask & mask))
    return Overlap(both, int(inspection.mask.sum()) - both, int(mask.sum()) - both)


def as_problem(sample: Sample, reason: str) -> Problem:
    """Why an image is left out, naming it."""
    named = any(str(path) in reason for path in (sample.image, *sample.masks))
    return Problem(str(sample.image), reason if named else f"{sample.image}: {reason}")
