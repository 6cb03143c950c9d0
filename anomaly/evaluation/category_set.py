"""Runs an inspector over a category whose test images are compared with each other: mutual scoring.

Each image is observed once and kept, all are compared, each is judged; processes share the first and the last step.
The labels play no part. A verdict hangs on the whole set: with another image in it, all are compared anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomaly.evaluation.category import Category, Inspected, LoadedSample, as_problem
from anomaly.evaluation.labelled import InspectedImage, Problem, safe_name
from anomaly.observation import Observation
from anomaly.runs.journal import Journal
from anomaly.runs.loop import Failure, run_all, why_not_judged
from anomaly.runs.observations import Observations
from anomaly.runs.observing import SetInspector, observe_and_keep, unobserved
from anomaly.runs.saving import explained
from anomaly.runs.stamps import set_of
from anomaly.testsets.samples import Sample
from steervit.processes import Processes


@dataclass(frozen=True)
class _Observed:
    loaded: LoadedSample
    observation: Observation

    @property
    def image(self) -> np.ndarray:
        return self.loaded.image


def inspect_category_as_set(
    inspector: SetInspector,
    category: Category,
    processes: Processes,
    batch_size: int = 8,
    progress: Callable[[int], None] = lambda count: None,
) -> Inspected:
    """As `category.inspect_category`, for images that are compared with each other.

    Raises `SteerAnomalyError` for fewer than two images of different content, and when files cannot be written.
    """
    kept = Observations(observations_of(category), inspector.description_hash)
    problems = list(_observe(inspector, category, kept, processes, batch_size, progress))
    unseen = {problem.file for part in processes.gather(problems) for problem in part}
    sound = [sample for sample in category.images.samples if str(sample.image) not in unseen]
    key = set_of({sample.key: sample.image for sample in sound})
    comparison = _compare(inspector, category, kept, sound, processes)
    done = category.finished(key)
    pending = [s for s in processes.share(sound) if s.key not in done]
    with Journal(category.journal(processes.rank), "key") as journal:
        for sample, row in _conclude(inspector, category, kept, pending, comparison, key):
            if isinstance(row, Failure):
                problems.append(as_problem(sample, row.reason))
            else:
                journal.append(row.to_line())
    problems = [problem for part in processes.gather(problems) for problem in part]
    return Inspected({name: one.known for name, one in category.finished(key).items()}, problems)


def observations_of(category: Category) -> Path:
    """Where the observations of a category's images lie, until it is done."""
    asked = hashlib.sha256(category.images.object.encode()).hexdigest()[:8]  # what is seen hangs on the name
    return category.out / "observations" / safe_name(category.images.name) / asked


def drop_observations(category: Category) -> None:
    """Deletes the observations of a category that is done."""
    shutil.rmtree(observations_of(category).parent, ignore_errors=True)
    above = observations_of(category).parent.parent
    if above.is_dir() and not any(above.iterdir()):
        above.rmdir()


def _observe(
    inspector: SetInspector,
    category: Category,
    kept: Observations,
    processes: Processes,
    batch_size: int,
    progress: Callable[[int], None],
) -> Iterator[Problem]:
    """Step one, for the images of this process that have not been observed yet; yields those that cannot be."""
    share = {sample.image: sample for sample in processes.share(category.images.samples)}
    pending = unobserved(kept, {sample.key: path for path, sample in share.items()})
    progress(len(share) - len(pending))
    part = category.images.object
    for path, failure in observe_and_keep(kept, pending, inspector, part, category.out, batch_size):
        progress(1)
        if failure is not None:
            yield as_problem(share[path], failure.reason)


def _compare(
    inspector: SetInspector,
    category: Category,
    kept: Observations,
    sound: Sequence[Sample],
    processes: Processes,
) -> Any:
    """Step two: the leading process compares, the others find what it kept."""

    def compared() -> Any:
        with explained("what is compared", category.out, None):
            observed = (kept.load(sample.key) for sample in sound)
            return inspector.compare_all(observed, category.images.object, kept.compared)

    comparison = compared() if processes.leads else None
    processes.wait()
    return comparison if processes.leads else compared()


def _conclude(
    inspector: SetInspector,
    category: Category,
    kept: Observations,
    pending: Sequence[Sample],
    comparison: Any,
    key: str,
) -> Iterator[tuple[Sample, InspectedImage | Failure]]:
    """Step three: the map of each image is written."""
    yield from run_all(
        pending,
        lambda sample: _Observed(category.load(sample), kept.load(sample.key)),
        lambda batch: [inspector.conclude(one.observation, comparison) for one in batch],
        lambda one, inspection: why_not_judged(one.image, inspection),
        lambda one, inspection: category.write(one.loaded, inspection, key),
        batch_size=1,
    )
