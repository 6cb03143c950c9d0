"""One evaluation of one model on several categories, in one output folder: resumes, refuses to mix settings.

Writes `run.json`, `journal/`, `maps/` and `categories/`; `anomaly.evaluation.results` writes tables and reports.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.evaluation.category import BatchInspector, TestImages, inspect_category
from anomaly.evaluation.scoring import CategoryResult, score_category
from anomaly.pictures.maps import map_path, read_map
from steervit.processes import Processes
from anomaly.runs.rows import safe_name

VOLATILE = ("device", "batch_size", "threads", "command", "milliseconds")


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
    """Told of `begin(category, images of this process)`, `advance(count)` and `finish(images, result)`."""

    begin: Callable[[str, int], None] = field(default=lambda category, count: None)
    advance: Callable[[int], None] = field(default=lambda count: None)
    finish: Callable[[TestImages, CategoryResult], None] = field(default=lambda images, result: None)


def evaluate(
    inspector: BatchInspector,
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
    claim_folder(out, benchmark, inspector.settings(), processes)
    results = []
    for images in categories:
        watcher.begin(images.name, len(processes.share(images.samples)))
        results.append(_evaluate_one(inspector, images, out, options, processes, watcher))
    return results


def _evaluate_one(
    inspector: BatchInspector,
    images: TestImages,
    out: Path,
    options: Options,
    processes: Processes,
    watcher: Watcher,
) -> CategoryResult:
    path = out / "categories" / f"{safe_name(images.name)}.json"
    identity = _identity(images, options)
    finished = _read_finished(path, identity, images, out if options.save_maps else None)
    if all(processes.gather(finished is not None)) and finished is not None:
        watcher.advance(len(processes.share(images.samples)))
        return finished
    inspected = inspect_category(inspector, images, out, processes, options.batch_size, watcher.advance)
    maps = out / "maps"
    result = score_category(
        images,
        lambda sample: read_map(map_path(maps, images.name, sample.key)),
        inspected.rows,
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
        _drop_maps(maps, result)
    return result


def _drop_maps(maps: Path, result: CategoryResult) -> None:
    """Deletes the maps of a category that is done; where images were left out they stay, to be completed."""
    if not result.left_out:
        shutil.rmtree(maps / result.category, ignore_errors=True)
    if maps.is_dir() and not any(maps.iterdir()):
        maps.rmdir()


def claim_folder(out: Path, benchmark: str, settings: dict[str, Any], processes: Processes) -> None:
    """Makes `out` this run's folder, or joins the run it holds when benchmark and settings are the same."""
    mine = {"benchmark": benchmark, "settings": settings}
    problem = _claim(out, mine) if processes.leads else None
    problem = processes.gather(problem)[0]
    if problem is None and not (out / "run.json").is_file():
        problem = (
            f"{out}: process {processes.rank} does not see the folder of process 0; --out must be shared"
        )
    if any(found := [p for p in processes.gather(problem) if p]):
        raise SteerAnomalyError(found[0])


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all. Raises `SteerAnomalyError` when the folder is not writable."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SteerAnomalyError(
            f"{path}: cannot write ({error.strerror or error}). Free some space or give another "
            "--out; what is done "
            "stays, run the same command again to go on"
        ) from error


def _claim(out: Path, mine: dict[str, Any]) -> str | None:
    path = out / "run.json"
    try:
        if not path.is_file():
            write_json(path, {**mine, **_about()})
            return None
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except (SteerAnomalyError, OSError, ValueError) as error:
        return str(error)
    differing = _differences(json.loads(json.dumps(mine)), theirs)
    if not differing:
        return None
    return (
        f"{out} holds a run with other settings ({'; '.join(differing[:4])}). Figures of two settings "
        "must not mix: "
        "give another --out, or delete that folder"
    )


def _about() -> dict[str, Any]:
    """What produced a run, for its record; versions of what is loaded, so that nothing is loaded for this."""
    import platform
    import shlex
    import sys

    from anomaly import __version__

    loaded = {n: sys.modules[n].__version__ for n in ("numpy", "cv2", "torch", "timm") if n in sys.modules}
    return {
        "tool": f"steer-anomaly eval {__version__}",
        "command": shlex.join(["steer-anomaly", *sys.argv[1:]]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **loaded},
    }


def _differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    pairs = [("benchmark", mine["benchmark"], theirs.get("benchmark"))]
    one, two = mine["settings"], theirs.get("settings", {})
    pairs += [(k, one.get(k), two.get(k)) for k in sorted({*one, *two}) if k not in VOLATILE]
    return [f"{name} was {_short(then)}, is {_short(now)}" for name, now, then in pairs if now != then]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _identity(images: TestImages, options: Options) -> dict[str, Any]:
    """What a finished category depends on, besides the settings."""
    files = [[s.key, *_file_stamps(s.image, *s.masks)] for s in images.samples]
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {
        "object": images.object,
        "samples": digest,
        "limits": list(options.limits),
        "calpro_size": options.calpro_size,
    }


def _file_stamps(*paths: Path) -> list[int]:
    stats = [p.stat() if p.is_file() else None for p in paths]
    return [value for s in stats for value in ((s.st_size, s.st_mtime_ns) if s else (-1, -1))]


def _read_finished(
    path: Path, identity: dict[str, Any], images: TestImages, maps_wanted: Path | None
) -> CategoryResult | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["identity"] != identity or content["result"]["left_out"]:
            return None
        result = CategoryResult(**content["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if maps_wanted is None or all(
        map_path(maps_wanted / "maps", images.name, s.key).is_file() for s in images.samples
    ):
        return result
    return None
