"""The service over HTTP, below /v1: inspect, profiles, feedback, parts; and health and metrics. Makes no pages."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from anomaly.decision.calibrating import Wish
from anomaly.line.answers import Answer, Applied, Asked, Back, BatchAnswer, FeedbackGiven, Refused, answer_of
from anomaly.line.limits import Refusal
from anomaly.line.service import Service
from anomaly.line.store import today
from anomaly.line.uploaded import UnusablePhoto, evidence_jpeg, layer_webp, photo_jpeg, unpacked
from anomaly.line.uploads import Upload, read_upload
from anomaly.pictures.overlay import ColorScale

PICTURE = {"type": "string", "format": "binary"}
CHOICE = {
    "profile": {"type": "string", "example": "flange"},
    "object": {"type": "string", "example": "metal nut", "description": "in place of a profile"},
    "maps": {"type": "string", "enum": ["none", "inline"], "default": "none"},
}
ONE = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["image"], "properties": {"image": PICTURE} | CHOICE}
    },
    "image/jpeg": {"schema": PICTURE},
    "image/png": {"schema": PICTURE},
}
SEVERAL = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "array", "items": PICTURE}} | CHOICE,
        }
    }
}
BUSY = {
    "description": "the queue is full",
    "model": Refused,
    "headers": {"Retry-After": {"schema": {"type": "integer"}}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused}, 401: {"model": Refused}, 404: {"model": Refused}, 413: {"model": Refused},
    415: {"model": Refused}, 422: {"model": Refused}, 429: BUSY, 503: {"model": Refused},
}  # fmt: skip
CACHED = {"cache-control": "private, max-age=31536000, immutable"}
FRESH = {"cache-control": "no-store"}
api = APIRouter(responses=REFUSALS)


def service_of(request: Request) -> Service:
    """The service that the application was made for."""
    return request.app.state.service


# Inspecting ------------------------------------------------------------------------------------------------


@api.post(
    "/v1/inspect", response_model=Answer, openapi_extra={"requestBody": {"content": ONE}}, tags=["inspect"]
)
async def inspect(
    request: Request,
    profile: str | None = Query(None, description="with a raw body; else a field of the form"),
    object: str | None = Query(None, description="the part's name, in place of a profile"),
    name: str | None = Query(None, description="what the picture is called, with a raw body"),
    maps: str | None = Query(None, description="`inline` for heatmap and mask in the answer"),
) -> Any:
    """Judge one picture: a form with `image` and `profile` or `object`, or the picture as the body.

    With both parts and query parameters the form's fields count.
    """
    upload = await read_upload(request, 1)
    (called, data), fields = upload.files[0], upload.fields
    return await service_of(request).inspect(
        called, data, fields.get("profile"), fields.get("object"), fields.get("maps") == "inline"
    )


@api.post(
    "/v1/inspect/batch",
    response_model=BatchAnswer,
    openapi_extra={"requestBody": {"content": SEVERAL}},
    tags=["inspect"],
)
async def inspect_batch(request: Request) -> Any:
    """Judge several pictures of one part, each by itself: a form with `image` several times. Results in their order."""
    service = service_of(request)
    upload = await read_upload(request, service.limits.pictures)
    at_once = asyncio.Semaphore(max(1, service.limits.waiting // 4))  # others want to be judged, too

    async def one(called: str | None, data: bytes) -> dict[str, Any]:
        async with at_once:
            try:
                return await _patiently(service, called, data, upload)
            except Refusal as refusal:
                return refusal.content()

    return {"results": await asyncio.gather(*(one(called, data) for called, data in upload.files))}


async def _patiently(service: Service, called: str | None, data: bytes, upload: Upload) -> dict[str, Any]:
    """A batch that was taken waits for its place in the queue."""
    fields, until = upload.fields, time.monotonic() + service.limits.answer_seconds
    while True:
        try:
            return await service.inspect(
                called, data, fields.get("profile"), fields.get("object"), fields.get("maps") == "inline"
            )
        except Refusal as refusal:
            if refusal.status != 429 or time.monotonic() > until:
                raise
        await asyncio.sleep(0.2)


# Parts -----------------------------------------------------------------------------------------------------


@api.get("/v1/parts", tags=["parts"])
def parts(
    request: Request, after: int = 0, before: int | None = None, limit: int = Query(24, ge=1, le=200),
    profile: str | None = None, verdict: str | None = None,
) -> Any:  # fmt: skip
    """The last parts, newest first, today's counts, and the drift of each profile."""
    service = service_of(request)
    found = service.store.parts(limit, after, before, profile, verdict)
    return {
        "parts": [answer_of(one["id"], one) | _more(one) for one in found],
        "today": service.store.counts(today(), profile),
        "queue": service.batcher.waiting,
        "drift": {name: _drift(service, name) for name in service.shelf.names() if profile in (None, name)},
    }


@api.get("/v1/parts/{number}", tags=["parts"])
def part(request: Request, number: int) -> Any:
    """One part."""
    found = _part(request, number)
    return answer_of(number, found) | _more(found)


@api.get("/v1/parts/{number}/photograph", tags=["parts"], response_class=Response)
def photograph(
    request: Request, number: int, size: str = Query("large", pattern="^(small|large)$")
) -> Response:
    """The photograph as JPEG."""
    image = _photo(request, _part(request, number)["photo"])
    return Response(photo_jpeg(image, size), media_type="image/jpeg", headers=CACHED)


@api.get("/v1/parts/{number}/heat", tags=["parts"], response_class=Response)
def heat(request: Request, number: int) -> Response:
    """The heatmap as a transparent WebP to lay over the photograph."""
    return Response(layer_webp(_part(request, number)["heat"]), media_type="image/webp", headers=CACHED)


@api.get("/v1/parts/{number}/evidence/{name}", tags=["parts"], response_class=Response)
def evidence(request: Request, number: int, name: str) -> Response:
    """One piece of evidence over the photograph, as JPEG."""
    found = _part(request, number)
    maps = unpacked(found["evidence"]) if found["evidence"] else {}
    if name not in maps:
        raise Refusal(
            404, "no-such-evidence", f"expected one of {', '.join(maps) or 'none'}, got another name"
        )
    scale = found["answer"]["scale"]
    half = ColorScale(scale["low"] / 2, scale["threshold"] / 2, scale["high"] / 2)
    return Response(
        evidence_jpeg(_photo(request, found["photo"]), maps[name], half),
        media_type="image/jpeg",
        headers=CACHED,
    )


@api.get("/v1/parts/{number}/neighbour", tags=["parts"])
def neighbour(request: Request, number: int) -> Any:
    """The nearest good picture: its address, and what it is."""
    return service_of(request).neighbours.of(_part(request, number))


@api.get("/v1/goods/{content}", tags=["profiles"], response_class=Response)
def good_picture(
    request: Request, content: str, size: str = Query("small", pattern="^(small|large)$")
) -> Response:
    """A good picture of a profile, by the hash of its content."""
    found = service_of(request).store.good(content)
    if found is None:
        raise Refusal(404, "no-such-picture", "expected the hash of a good picture that is here, got another")
    return Response(
        photo_jpeg(_photo(request, found["photo"]), size), media_type="image/jpeg", headers=CACHED
    )


# Profiles --------------------------------------------------------------------------------------------------


@api.get("/v1/profiles", tags=["profiles"])
def profiles(request: Request) -> Any:
    """The profiles there are: what they promise, and their version."""
    service = service_of(request)
    return {"profiles": [_summary_or_why_not(service, name) for name in service.shelf.names()]}


@api.get("/v1/profiles/{name}", tags=["profiles"])
def profile(request: Request, name: str) -> Any:
    """One profile with its versions, its record of misses, and the proposal that is being made."""
    service = service_of(request)
    versions = [one.__dict__ for one in reversed(service.shelf.versions(name).all())]
    goods = service.store.goods(name)
    found = summary(service, name) if name in service.shelf.names() else {"name": name, "version": None}
    proposal = service.learner.proposal(name)
    told = service.store.told(name)
    return found | {
        "versions": versions,
        "pictures": [{key: one[key] for key in ("content", "name", "origin", "part")} for one in goods],
        "misses": [one["id"] for one in told if one["was"] == "defect" and one["verdict"] == "ok"],
        "false_alarms": [one["id"] for one in told if one["was"] == "good" and one["verdict"] == "defect"],
        "proposal": _shown(service, proposal.to_dict()) if proposal else None,
    }


@api.post("/v1/profiles/{name}/good", openapi_extra={"requestBody": {"content": SEVERAL}}, tags=["profiles"])
async def good(request: Request, name: str) -> Any:
    """Add pictures of good parts, chosen without looking at verdicts. They count once a version is made of them."""
    service = service_of(request)
    upload = await read_upload(request, service.limits.pictures)
    return await run_in_threadpool(service.learner.add_goods, name, upload.files)


@api.delete("/v1/profiles/{name}/good/{content}", tags=["profiles"])
def remove_good(request: Request, name: str, content: str) -> Any:
    """Take a picture out of those that the next version is made of."""
    service_of(request).store.remove_goods(name, [content])
    return {"removed": content}


@api.post("/v1/profiles/{name}/feedback", tags=["profiles"])
async def feedback(request: Request, name: str, given: FeedbackGiven) -> Any:
    """Say that a part was good, or a defect. A false alarm makes a proposal at once; with `apply` a version."""
    service = service_of(request)
    found = await run_in_threadpool(_part, request, given.part)
    if (found["profile"] or "-") != name:
        raise Refusal(404, "no-such-part", "expected a part that this profile judged, got another one")
    said = await run_in_threadpool(service.learner.told, found, given.was, given.note)
    service.measures.feedback.labels(name, given.was, found["verdict"]).inc()
    proposal = service.learner.proposal(name)
    if given.apply and proposal is not None and proposal.reason == f"part {given.part} was good":
        while proposal.state == "working":
            await asyncio.sleep(0.05)
        if proposal.state == "ready":
            await run_in_threadpool(service.learner.apply, name, proposal.id)
    return {"said": said, "proposal": _shown(service, proposal.to_dict()) if proposal else None}


@api.post("/v1/profiles/{name}/proposal", status_code=202, tags=["profiles"])
def propose(request: Request, name: str, asked: Asked) -> Any:
    """Begin to make the next version of a profile, or its first; `GET /v1/profiles/NAME` says how far it is."""
    service = service_of(request)
    if not service.store.goods(name):
        raise Refusal(
            409, "no-pictures", "expected pictures of good parts for this profile first, there are none"
        )
    wish = Wish(
        asked.false_alarms, asked.confidence or Wish.confidence, None, asked.drop_outliers, asked.best_effort
    )
    reason = asked.reason or (
        "calibrated on the page" if name not in service.shelf.names() else "calibrated again"
    )
    return _shown(service, service.learner.propose(name, wish, reason, asked.object).to_dict())


@api.post("/v1/profiles/{name}/apply", tags=["profiles"])
def apply(request: Request, name: str, applied: Applied) -> Any:
    """Let a proposal that is ready judge from now on."""
    return service_of(request).learner.apply(name, applied.proposal).__dict__


@api.post("/v1/profiles/{name}/back", tags=["profiles"])
def back(request: Request, name: str, wanted: Back) -> Any:
    """Let an earlier version judge again, as a new version."""
    return service_of(request).shelf.versions(name).back(wanted.version, wanted.reason).__dict__


# Health ----------------------------------------------------------------------------------------------------


@api.get("/healthz", tags=["health"])
def healthz() -> Any:
    """Whether the process answers."""
    return {"status": "ok"}


@api.get("/readyz", tags=["health"])
def readyz(request: Request) -> Any:
    """Whether the model is loaded."""
    if not service_of(request).is_ready.is_set():
        raise Refusal(503, "loading", "the model is being loaded; come again in a second", 1)
    return {"status": "ready"}


@api.get("/metrics", tags=["health"], response_class=Response)
def metrics(request: Request) -> Response:
    """Latency, queue, verdicts, drift, as Prometheus reads them."""
    return Response(
        service_of(request).measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


# -----------------------------------------------------------------------------------------------------------


def summary(service: Service, name: str) -> dict[str, Any]:
    """What a profile is and promises."""
    ready = service.ready(name)
    profile, point = ready.profile, ready.inspector.point
    assert point is not None
    return {
        "name": name, "object": profile.object, "model": profile.model, "version": ready.version.number,
        "made": ready.version.made, "reason": ready.version.reason, "threshold": point.threshold,
        "promise": profile.promise.sentence(), "expected": profile.promise.expected, "bound": profile.promise.bound,
        "confidence": profile.promise.confidence, "guaranteed": profile.promise.guaranteed,
        "parts": profile.calibration.n, "references": len(profile.provenance.references),
        "today": service.store.counts(today(), name), "drift": _drift(service, name),
    }  # fmt: skip


def _summary_or_why_not(service: Service, name: str) -> dict[str, Any]:
    """One profile that cannot be read does not hide the others."""
    try:
        return summary(service, name)
    except Refusal as refusal:
        return {"name": name, "broken": refusal.message}


def _drift(service: Service, name: str) -> dict[str, Any] | None:
    try:
        return service.following(service.ready(name)).found()
    except Refusal:  # a broken profile does not take the page with it
        return None


def _part(request: Request, number: int) -> dict[str, Any]:
    found = service_of(request).store.part(number)
    if found is None:
        raise Refusal(404, "no-such-part", "expected the id of a part that is here, got another one")
    return found


def _photo(request: Request, name: str | None) -> Any:
    try:
        if name is None:
            raise UnusablePhoto("gone", "its photograph was removed, only the last ones are kept")
        return service_of(request).photographs.read(name)
    except UnusablePhoto as error:
        raise Refusal(404, "no-photograph", str(error)) from error


def _more(found: dict[str, Any]) -> dict[str, Any]:
    """What the page draws beside the answer."""
    return {
        "was": found["was"],
        "outlines": found["answer"]["outlines"],
        "has_photo": found["photo"] is not None,
    }


def _shown(service: Service, proposal: dict[str, Any]) -> dict[str, Any]:
    return proposal | {"message": service.without_paths(proposal["message"])}
