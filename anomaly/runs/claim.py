"""The record of a run, `run.json`: whether a folder holds one, and whether another run may go on with it.

Knows nothing of images or models; settings are compared as they are written.
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly import __version__
from anomaly.runs.saving import OutputError

# A run may go on with these changed: they do not change what an image is given.
FREE_SETTINGS = ("device", "batch_size", "threads")
_NAMED = ("object", "benchmark")  # what a run is about, beside its settings
_VERSIONS = ("numpy", "cv2", "torch", "timm", "transformers")


def now() -> str:
    """The time as a run writes it: UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def produced_by() -> dict[str, Any]:
    """The command and the versions of what is loaded (nothing is loaded for this), for `run.json`."""
    loaded = {name: sys.modules[name].__version__ for name in _VERSIONS if name in sys.modules}
    return {
        "command": shlex.join(["steer-anomaly", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **loaded},
    }


def new_record(run_info: dict[str, Any]) -> dict[str, Any]:
    """`run_info` (JSON-able) as the record of a run that begins now."""
    return json.loads(json.dumps(run_info)) | {
        "tool": {"name": "steer-anomaly", "version": __version__},
        "started": now(),
        "finished": False,
        "seconds": 0.0,
    }


def read_run(out: Path, ours: Sequence[str] = ()) -> dict[str, Any] | None:
    """The `run.json` of an earlier run in `out`; None when there is none and nothing is in our way.

    `ours` names what a run writes below `out`. Raises `OutputError` when some of it is there without a record
    of ours, or the record is another program's.
    """
    path = out / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["tool"]["name"] == "steer-anomaly":
            return run
    except FileNotFoundError:
        if not (taken := [name for name in ours if _is_taken(out / name)]):
            return None
        raise OutputError(
            f"{out} holds {', '.join(taken)} but no run.json of an earlier run, so they may be somebody else's; "
            "choose another folder for the results"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise OutputError(
        f"expected {path} to be the record of an earlier run, but it is not one; "
        "choose another folder for the results"
    )


def go_on_with(earlier: dict[str, Any], fresh: dict[str, Any], out: Path, otherwise: str) -> dict[str, Any]:
    """The record of `fresh` going on where `earlier` stopped.

    Raises `OutputError` when they differ in what they are about, in settings or in the tool's version;
    `otherwise` says what can be done then.
    """
    if different := differences(earlier, fresh):
        raise OutputError(
            f"{out} holds the results of a run with other settings ({'; '.join(different[:5])}). "
            f"Results of two settings must not mix: {otherwise}"
        )
    kept = {key: earlier[key] for key in ("started", "seconds", "color_scale", "doubts") if key in earlier}
    return fresh | kept | {"resumed": [*earlier.get("resumed", []), now()]}


def differences(earlier: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    """What keeps a run from going on where `earlier` stopped, in words."""
    before, now_ = (
        {name: run.get(name) for name in _NAMED} | {"version": run["tool"].get("version")}
        for run in (earlier, fresh)
    )
    before |= earlier.get("settings") or {}
    now_ |= fresh.get("settings") or {}
    names = [name for name in {**before, **now_} if name not in FREE_SETTINGS]
    return [
        f"{name}: {_brief(before.get(name))} there, {_brief(now_.get(name))} now"
        for name in names
        if before.get(name) != now_.get(name)
    ]


def _is_taken(path: Path) -> bool:
    # An empty journal is what a run leaves that was stopped in its first moment.
    return path.exists() and not (path.name == "results.jsonl" and path.stat().st_size == 0)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
