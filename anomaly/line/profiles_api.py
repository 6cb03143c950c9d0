"""Profiles over HTTP: what they promise, their good pictures, feedback, proposals, versions. It calibrates nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from anomaly.decision.calibrating import Wish
from anomaly.line.answers import Applied, Asked, Back, FeedbackGiven
from anomaly.line.limits import Refusal
from anomaly.line.routes import CACHED, REFUSALS, SEVERAL, drift_of, part_of, photo_of, service_of
from anomaly.line.service import Service
from anomaly.line.store import today
from anomaly.line.uploaded import photo_jpeg
from anomaly.line.uploads import read_upload

profiles_api = APIRouter(responses=REFUSALS)


@profiles_api.get("/v1/profiles")
def profiles(request: Request) -> Any:
    """The profiles there are: what they promise, and their version."""
    service = service_of(request)
    return {"profiles": [_summary_or_why_not(service, name) for name in service.shelf.names()]}


@profiles_api.get("/v1/profiles/{name}")
def profile(request: Request, name: str) -> Any:
    """One profile with its versions, its record of misses, and the proposal that is being made."""
    service = service_of(request)
    versions = [one.__dict__ for one in reversed(service.shelf.versions(name).all())]
    goods = service.store.goods(name)
    found = {"name": name, "version": None}
    if name in service.shelf.names():
        found |= _summary_or_why_not(service, name)
    proposal = service.learner.proposal(name)
    told = service.store.told(name)
    return found | {
        "versions": versions,
        "pictures": [{key: one[key] for key in ("content", "name", "origin", "part")} for one in goods],
        "misses": [one["id"] for one in told if one["was"] == "defect" and one["verdict"] == "ok"],
        "false_alarms": [one["id"] for one in told if one["was"] == "good" and one["verdict"] == "defect"],
        "proposal": shown(service, proposal.to_dict()) if proposal else None,
    }


@profiles_api.post("/v1/profiles/{name}/good", openapi_extra={"requestBody": {"content": SEVERAL}})
async def good(request: Request, name: str) -> Any:
    """Add pictures of good parts, chosen without looking at verdicts. They count once a version is made of them."""
    service = service_of(request)
    upload = await read_upload(request, service.limits.pictures)
    return await run_in_threadpool(service.learner.add_goods, name, upload.files)


@profiles_api.delete("/v1/profiles/{name}/good/{content}")
def remove_good(request: Request, name: str, content: str) -> Any:
    """Take a picture out of those that the next version is made of."""
    service_of(request).store.remove_goods(name, [content])
    return {"removed": content}


@profiles_api.post("/v1/profiles/{name}/feedback")
async def feedback(request: Request, name: str, given: FeedbackGiven) -> Any:
    """Say that a part was good, or a defect. A false alarm makes a proposal at once; with `apply` a version."""
    service = service_of(request)
    found = await run_in_threadpool(part_of, request, given.part)
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
    return {"said": said, "proposal": shown(service, proposal.to_dict()) if proposal else None}


@profiles_api.post("/v1/profiles/{name}/proposal", status_code=202)
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
    return shown(service, service.learner.propose(name, wish, reason, asked.object).to_dict())


@profiles_api.post("/v1/profiles/{name}/apply")
def apply(request: Request, name: str, applied: Applied) -> Any:
    """Let a proposal that is ready judge from now on."""
    return service_of(request).learner.apply(name, applied.proposal).__dict__


@profiles_api.post("/v1/profiles/{name}/back")
def back(request: Request, name: str, wanted: Back) -> Any:
    """Let an earlier version judge again, as a new version."""
    return service_of(request).shelf.versions(name).back(wanted.version, wanted.reason).__dict__


@profiles_api.get("/v1/goods/{content}", response_class=Response)
def good_picture(
    request: Request, content: str, size: str = Query("small", pattern="^(small|large)$")
) -> Response:
    """A good picture of a profile, by the hash of its content."""
    found = service_of(request).store.good(content)
    if found is None:
        raise Refusal(404, "no-such-picture", "expected the hash of a good picture that is here, got another")
    return Response(
        photo_jpeg(photo_of(request, found["photo"]), size), media_type="image/jpeg", headers=CACHED
    )


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
        "today": service.store.counts(today(), name), "drift": drift_of(service, name),
    }  # fmt: skip


def _summary_or_why_not(service: Service, name: str) -> dict[str, Any]:
    """One profile that cannot be read does not hide the others."""
    try:
        return summary(service, name)
    except Refusal as refusal:
        return {"name": name, "broken": refusal.message}


def shown(service: Service, proposal: dict[str, Any]) -> dict[str, Any]:
    return proposal | {"message": service.without_paths(proposal["message"])}
