"""One evaluation of one model on several categories, in one output folder: resumes, refuses to mix settings.

Writes `run.json`, `journal/`, `maps/` and `categories/`; `anomaly.evaluation.results` writes tables and reports.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.category import Category, inspect_category, references_key, stamp_of
from anomaly.evaluation.category_set import drop_observations, inspect_category_as_set
from anomaly.evaluation.labelled import TestImages, safe_name
from anomaly.evaluation.scoring import CategoryResult, require_counted, score_category
from anomaly.pictures.maps import read_map
from anomaly.runs import claim
from anomaly.runs.inspecting import BatchInspector
from anomaly.runs.inspecting_sets import SetInspector
from anomaly.runs.saving import OutputError, explained, save_json
from steervit.processes import Processes

OTHERWISE = "choose another folder, or delete that one"


class EvalInspector(BatchInspector, SetInspector, Protocol):
    """What an evaluation needs of `anomaly.inspector.Inspector`."""

    mutual: bool

    def with_references(self, references: Any) -> EvalInspector:
        """The same inspector, comparing with these good pictures."""

    def check_references(self, object: str) -> list[Any]:
        """The references that are unlike all others, with a `message` each."""


@dataclass(frozen=True)
class Options:
    """How to evaluate. `limits`: false-positive rates PRO is integrated up to, the first being `pro`.

    `calpro_size`: also score as `calpro200` does, with maps resized to that many pixels squared. Without
    `save_maps` a category's maps are deleted when it is done.
    """

    limits: tuple[float, ...] = (0.3,)
    calpro_size: int | None = None
    batch_size: int = 8
    save_maps: bool = False


@dataclass(frozen=True)
class Watcher:
    """Told of `begin(category, images of this process)`, `advance(count)`, `finish(images, result)`, and of the
    references of a category that are to be looked at, `doubt(sentence)`."""

    begin: Callable[[str, int], None] = field(default=lambda category, count: None)
    advance: Callable[[int], None] = field(default=lambda count: None)
    finish: Callable[[TestImages, CategoryResult], None] = field(default=lambda images, result: None)
    doubt: Callable[[str], None] = field(default=lambda sentence: None)


def evaluate(
    inspector: EvalInspector,
    benchmark: str,
    categories: list[TestImages],
    out: Path,
    options: Options,
    processes: Processes,
    watcher: Watcher | None = None,
) -> list[CategoryResult]:
    """Evaluates every category, going on from what `out` holds. All processes return the same results.

    The watcher's `finish` is called in process 0 for each category just scored, while its maps are there.

    Raises `SteerAnomalyError` when `out` holds a run of another benchmark or with other settings, or is not
    writable, or is not the same folder for all processes.
    """
    watcher = watcher or Watcher()
    claim_folder(out, {"benchmark": benchmark, "settings": inspector.describe()}, processes)
    results = []
    for images in categories:
        watcher.begin(images.name, len(processes.share(images.samples)))
        results.append(_evaluate_one(inspector, images, out, options, processes, watcher))
    require_counted(results)
    return results


def _evaluate_one(
    inspector: EvalInspector,
    images: TestImages,
    out: Path,
    options: Options,
    processes: Processes,
    watcher: Watcher,
) -> CategoryResult:
    path = out / "categories" / f"{safe_name(images.name)}.json"
    category = Category(images, out, compress=options.save_maps)
    identity = _identity(images, options)
    finished = _read_finished(path, identity, category if options.save_maps else None)
    if all(processes.gather(finished is not None)) and finished is not None:
        watcher.advance(len(processes.share(images.samples)))
        return finished
    inspect = inspect_category_as_set if inspector.mutual else inspect_category
    judging = _with_references(inspector, images)
    if images.references and processes.leads:
        for finding in judging.check_references(images.object):
            watcher.doubt(f"{images.name}: {finding.message}")
    inspected = inspect(judging, category, processes, options.batch_size, watcher.advance)
    result = score_category(
        images,
        lambda sample: read_map(category.map_of(sample)),
        inspected.scores,
        inspected.problems,
        processes,
        options.limits,
        options.calpro_size,
    )
    if processes.leads:
        watcher.finish(images, result)
        write_json(path, {"identity": identity, "result": result.to_dict()})
    processes.wait()
    if processes.leads and not options.save_maps:
        _drop_maps(out / "maps", result)
    if processes.leads and not result.left_out:
        drop_observations(category)
    return result


def _with_references(inspector: EvalInspector, images: TestImages) -> EvalInspector:
    if not images.references:
        return inspector
    from anomaly.comparison import ReferenceSet

    return inspector.with_references(ReferenceSet.of(images.references))


def _drop_maps(maps: Path, result: CategoryResult) -> None:
    """Deletes the maps of a category that is done; where images were left out they stay, to be completed."""
    if not result.left_out:
        shutil.rmtree(maps / result.category, ignore_errors=True)
    if maps.is_dir() and not any(maps.iterdir()):
        maps.rmdir()


def claim_folder(out: Path, about: dict[str, Any], processes: Processes) -> None:
    """Makes `out` this run's folder, or joins the run it holds when that has the same benchmark, settings, version.

    `about` has the keys `benchmark` and `settings`. Raises `OutputError`, in all processes.
    """
    problem = _claim(out, about) if processes.leads else None
    problem = processes.gather(problem)[0]
    if problem is None and not (out / "run.json").is_file():
        problem = f"{out}: process {processes.rank} does not see the folder of process 0; it must be one that all share"
    if any(found := [p for p in processes.gather(problem) if p]):
        raise OutputError(found[0])


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all. Raises `SteerAnomalyError` when the folder is not writable."""
    with explained(path.name, path.parent, None):
        save_json(path, content)


def _claim(out: Path, about: dict[str, Any]) -> str | None:
    try:
        fresh = claim.new_record({**about, **claim.produced_by()})
        earlier = claim.read_run(out)
        write_json(out / "run.json", claim.go_on_with(earlier, fresh, out, OTHERWISE) if earlier else fresh)
    except (SteerAnomalyError, OSError) as error:
        return str(error)
    return None


def _identity(images: TestImages, options: Options) -> dict[str, Any]:
    """What a finished category depends on, besides the settings."""
    files = [[s.key, *stamp_of(s)] for s in images.samples]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {
        "object": images.object,
        "samples": digest,
        "limits": list(options.limits),
        "calpro_size": options.calpro_size,
        "references": references_key(images),
    }


def _read_finished(
    path: Path, identity: dict[str, Any], maps_wanted: Category | None
) -> CategoryResult | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["identity"] != identity or content["result"]["left_out"]:
            return None
        result = CategoryResult.from_dict(content["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if maps_wanted is None or all(
        maps_wanted.map_of(sample).is_file() for sample in maps_wanted.images.samples
    ):
        return result
    return None
