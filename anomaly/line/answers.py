"""What the service says of a part, as JSON and as a row of the store; the shapes of its answers, for OpenAPI."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from anomaly.inspection import Inspection
from anomaly.line.store import now
from anomaly.line.uploaded import levels_png, packed
from anomaly.pictures.encode import to_float_tiff, to_mask_png
from anomaly.pictures.overlay import ColorScale, drawable, outlines
from anomaly.runs.company_previews import said_at_highest


class Region(BaseModel):
    """One connected defect region, in pixels of the picture; x1 and y1 are exclusive."""

    area: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    peak: float


class Maps(BaseModel):
    """Files in base64: the heatmap as float32 TIFF and the mask as PNG, both as large as the picture."""

    heatmap_tiff: str
    mask_png: str


class Answer(BaseModel):
    """What was found on one picture."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 4711, "received": "2026-11-24T09:30:12.345+01:00", "verdict": "defect", "score": 9.27,
                    "threshold": 3.56, "p_value": 0.0333, "spreads": 8.4, "regions": [
                        {"area": 912, "box_xyxy": [410, 220, 458, 251], "centroid_xy": [431.2, 236.8], "peak": 9.31}
                    ], "unfit": [], "evidence": {"text": 1.9, "references": 7.4}, "object": "flange",
                    "profile": "flange", "version": 3, "model": "nano", "name": "part-0815.jpg", "width": 1024,
                    "height": 1024, "milliseconds": 61.0, "links": {"part": "/parts/4711"}, "maps": None,
                }
            ]
        }
    )  # fmt: skip

    id: int
    received: str = Field(description="ISO 8601 with offset")
    verdict: str = Field(description="defect, ok, unfit (the photograph) or unjudged (no threshold is known)")
    score: float
    threshold: float | None
    p_value: float | None = Field(description="share of the profile's good parts that score as high, 0..1")
    spreads: float | None = Field(description="usual spreads of the good parts above their usual score")
    regions: list[Region]
    unfit: list[str] = Field(description="why the photograph cannot be judged, in sentences")
    evidence: dict[str, float] = Field(description="what spoke for a defect where the heatmap is highest")
    object: str
    profile: str | None
    version: int | None
    model: str
    name: str | None
    width: int
    height: int
    milliseconds: float
    links: dict[str, str]
    maps: Maps | None = None


class Problem(BaseModel):
    """Why there is no answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"code": "no-such-profile", "message": "expected a profile that is here, ..."}]
        }
    )

    code: str
    message: str


class Refused(BaseModel):
    """The body of every answer that is none."""

    error: Problem


class BatchAnswer(BaseModel):
    """One result per picture, in their order: an answer, or why there is none."""

    results: list[Answer | Refused]


class FeedbackGiven(BaseModel):
    """What somebody who looked says of a part."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"part": 4711, "was": "good", "note": "a shadow"}]}
    )

    part: int
    was: str = Field(pattern="^(good|defect)$")
    note: str | None = Field(default=None, max_length=500)
    apply: bool = Field(default=False, description="apply the new version without being shown first")


class Asked(BaseModel):
    """What a calibration is asked for; rates within 0..1."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"object": "flange", "false_alarms": 0.1}]})

    object: str | None = Field(default=None, max_length=100)
    false_alarms: float | None = Field(default=None, gt=0, lt=1)
    confidence: float | None = Field(default=None, gt=0, lt=1)
    drop_outliers: bool = False
    best_effort: bool = False
    reason: str = Field(default="", max_length=300)


class Applied(BaseModel):
    """Which proposal is applied."""

    proposal: str = Field(max_length=64)


class Back(BaseModel):
    """Which version judges again; the one before by default."""

    version: int | None = None
    reason: str = Field(default="", max_length=200)


def record_of(
    found: Inspection, image: np.ndarray, scale: ColorScale, *, name: str | None, content: str, photo: str | None,
    profile: str | None = None, version: int | None = None, digest: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A part as the store keeps it: `PART_COLUMNS`."""
    more = {
        "regions": [asdict(region) for region in found.regions],
        "unfit": list(found.unfit),
        "evidence": said_at_highest(found),
        "outlines": drawable(outlines(found.mask)),
        "look": asdict(found.look) if found.look else None,
        "scale": scale.to_dict(),
        "model": found.model,
    }
    return {
        "received": now(), "profile": profile, "version": version, "object": found.object, "verdict": found.verdict,
        "score": float(found.score), "threshold": None if found.threshold is None else float(found.threshold),
        "p_value": found.p_value, "spreads": found.spreads, "width": image.shape[1], "height": image.shape[0],
        "milliseconds": round(float(found.milliseconds), 2), "name": name, "content": content, "digest": digest,
        "answer": json.dumps(more, allow_nan=False), "heat": levels_png(found.heatmap, scale),
        "evidence": packed(found.parts) if found.parts else None, "photo": photo,
    }  # fmt: skip


def answer_of(number: int, record: dict[str, Any], found: Inspection | None = None) -> dict[str, Any]:
    """The answer of a part that is kept; with `found`, its maps too."""
    more = record["answer"] if isinstance(record["answer"], dict) else json.loads(record["answer"])
    kept = ("received", "verdict", "score", "threshold", "p_value", "spreads", "object", "profile", "version", "name",
            "width", "height", "milliseconds")  # fmt: skip
    links = {"part": f"/parts/{number}"}
    if record["photo"]:
        links |= {kind: f"/v1/parts/{number}/{kind}" for kind in ("photograph", "heat")}
    return (
        {"id": number}
        | {name: record[name] for name in kept if name in record}
        | {name: more[name] for name in ("regions", "unfit", "evidence", "model")}
        | {"links": links, "maps": maps_of(found) if found else None}
    )


def maps_of(found: Inspection) -> dict[str, str]:
    """Heatmap and mask in base64."""
    files = {"heatmap_tiff": to_float_tiff(found.heatmap), "mask_png": to_mask_png(found.mask)}
    return {name: base64.b64encode(data).decode() for name, data in files.items()}
