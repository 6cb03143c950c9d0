"""The parts that were judged, over HTTP: lists, single ones, and their pictures. Judges none."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request, Response

from anomaly.line.answers import answer_of
from anomaly.line.limits import Refusal
from anomaly.line.routes import CACHED, REFUSALS, drift_of, part_of, photo_of, service_of
from anomaly.line.store import today
from anomaly.line.uploaded import evidence_jpeg, layer_webp, photo_jpeg, unpacked
from anomaly.pictures.overlay import ColorScale

parts_api = APIRouter(responses=REFUSALS)


@parts_api.get("/v1/parts")
def parts(
    request: Request, after: int = 0, before: int | None = None, limit: int = Query(24, ge=1, le=200),
    profile: str | None = None, verdict: str | None = None,
) -> Any:  # fmt: skip
    """The last parts, newest first, today's counts, and the drift of each profile."""
    service = service_of(request)
    found = service.store.parts(limit, after, before, profile, verdict)
    return {
        "parts": [answer_of(one["id"], one) | drawn_beside(one) for one in found],
        "today": service.store.counts(today(), profile),
        "queue": service.batcher.waiting,
        "drift": {name: drift_of(service, name) for name in service.shelf.names() if profile in (None, name)},
    }


@parts_api.get("/v1/parts/{number}")
def part(request: Request, number: int) -> Any:
    """One part."""
    found = part_of(request, number)
    return answer_of(number, found) | drawn_beside(found)


@parts_api.get("/v1/parts/{number}/photograph", response_class=Response)
def photograph(
    request: Request, number: int, size: str = Query("large", pattern="^(small|large)$")
) -> Response:
    """The photograph as JPEG."""
    image = photo_of(request, part_of(request, number)["photo"])
    return Response(photo_jpeg(image, size), media_type="image/jpeg", headers=CACHED)


@parts_api.get("/v1/parts/{number}/heat", response_class=Response)
def heat(request: Request, number: int) -> Response:
    """The heatmap as a transparent WebP to lay over the photograph."""
    levels = part_of(request, number)["heat"]
    if levels is None:
        raise Refusal(
            404, "no-heatmap", "expected one of the last parts, of an older one the heatmap is gone"
        )
    return Response(layer_webp(levels), media_type="image/webp", headers=CACHED)


@parts_api.get("/v1/parts/{number}/evidence/{name}", response_class=Response)
def evidence(request: Request, number: int, name: str) -> Response:
    """One piece of evidence over the photograph, as JPEG."""
    found = part_of(request, number)
    maps = unpacked(found["evidence"]) if found["evidence"] else {}
    if name not in maps:
        raise Refusal(
            404, "no-such-evidence", f"expected one of {', '.join(maps) or 'none'}, got another name"
        )
    scale = found["answer"]["scale"]
    half = ColorScale(scale["low"] / 2, scale["threshold"] / 2, scale["high"] / 2)
    return Response(
        evidence_jpeg(photo_of(request, found["photo"]), maps[name], half),
        media_type="image/jpeg",
        headers=CACHED,
    )


@parts_api.get("/v1/parts/{number}/neighbour")
def neighbour(request: Request, number: int) -> Any:
    """The nearest good picture: its address, and what it is."""
    return service_of(request).neighbours.of(part_of(request, number))


def drawn_beside(found: dict[str, Any]) -> dict[str, Any]:
    """What the page draws beside the answer."""
    return {
        "was": found["was"],
        "outlines": found["answer"]["outlines"],
        "has_photo": found["photo"] is not None,
    }
