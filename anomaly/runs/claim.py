"""The record of a run, `run.json`: whether a folder holds one, and whether another run may go on with it.

Knows nothing of images or models; settings are compared as they are written.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError

OURS = (
    "results.csv",
    "results.jsonl",
    "report.html",
    "heatmaps",
    "masks",
    "overlays",
    "previews",
    "run.json",
)
# A run may go on with these changed: they do not change what an image is given.
_FREE_SETTINGS = ("device", "batch_size", "threads")


class OutputError(SteerAnomalyError):
    """The result folder cannot be used or written to; says what to do and that what was done is kept."""


def read_run(out: Path) -> dict[str, Any] | None:
    """The `run.json` of an earlier run in `out`; None when there is none and nothing is in our way."""
    path = out / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["tool"]["name"] == "steer-anomaly":
            return run
    except FileNotFoundError:
        if not (taken := [name for name in OURS if _is_taken(out / name)]):
            return None
        raise OutputError(
            f"{out} holds {', '.join(taken)} but no run.json of an earlier run, so they may be "
            "somebody else's; choose another folder with --out"
        ) from None
    except (ValueError, KeyError, TypeError):
        pass
    raise OutputError(
        f"expected {path} to be the record of an earlier run, but it is not one; "
        "choose another folder with --out"
    )


def _is_taken(path: Path) -> bool:
    # An empty journal is what a run leaves that was stopped in its first moment.
    return path.exists() and not (path.name == "results.jsonl" and path.stat().st_size == 0)


def differences(earlier: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    """What keeps a run from going on where `earlier` stopped, in words."""
    before, now = (
        {"object": run.get("object"), "version": run["tool"]["version"]} for run in (earlier, fresh)
    )
    before |= earlier.get("settings") or {}
    now |= fresh.get("settings") or {}
    names = [name for name in {**before, **now} if name not in _FREE_SETTINGS]
    return [
        f"{name}: {_brief(before.get(name))} there, {_brief(now.get(name))} now"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def advice(error: OSError, out: Path, what: str, kept: str) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: cannot write {what} in {out} ({reason}); {kept}. "
            "Free some space and run the same command again to go on"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return (
            f"expected a folder for the results, but {error.filename or out} is a file; choose another --out"
        )
    return f"cannot write {what} in {out}: {reason}; {kept}. Make it writable or choose another --out"
