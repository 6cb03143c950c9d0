"""What leaves the tool about one part: a flat dictionary for JSON, the same for every sink. Opens nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from anomaly.runs.rows import ImageRow

SCHEMA = 1
_MOST_REGIONS = 40


def id_of(run: str, row: ImageRow) -> str:
    """32 hex digits that name this judgement: of this file, as it was, under the settings with the hash `run`.

    A message that is sent twice has the same one.
    """
    named = json.dumps([run, row.file, row.size, row.mtime_ns])
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def verdict_of(
    row: ImageRow,
    id: str,
    time: str,
    source: str,
    profile: str | None = None,
    drift: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A row as sinks get it. `time` is UTC in ISO 8601; `source` is the command; `profile` the profile's name.

    `regions` are the highest peaks first, at most 40, in pixels of the image, x1 and y1 exclusive.
    """
    return {
        "schema": SCHEMA,
        "id": id,
        "time": time,
        "source": source,
        "object": row.object,
        "profile": profile,
        "file": row.file.encode("utf-8", "replace").decode(),
        "verdict": row.verdict,
        "score": row.score,
        "threshold": row.threshold,
        "p_value": row.p_value,
        "spreads": row.spreads,
        "regions": [
            {"box_xyxy": list(one.box_xyxy), "area": one.area, "peak": one.peak}
            for one in row.regions[:_MOST_REGIONS]
        ],
        "error": row.error,
        "drift": drift,
    }
