"""The service over HTTP: inspecting, health and metrics. Makes no pages; parts and profiles have their own modules."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Query, Request, Response

from anomaly.line.answers import Answer, BatchAnswer
from anomaly.line.limits import Refusal
from anomaly.line.routes import CHOICE, PICTURE, REFUSALS, SEVERAL, service_of
from anomaly.line.service import Service
from anomaly.line.uploads import Upload, read_upload

ONE = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["image"], "properties": {"image": PICTURE} | CHOICE}
    },
    "image/jpeg": {"schema": PICTURE},
    "image/png": {"schema": PICTURE},
}
api = APIRouter(responses=REFUSALS)


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
