"""What the routes of the service share: the service behind a request, parts and photographs by their id, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import Request

from anomaly.line.answers import Refused
from anomaly.line.limits import Refusal
from anomaly.line.service import Service
from anomaly.line.uploaded import UnusablePhoto

BUSY = {
    "description": "the queue is full",
    "model": Refused,
    "headers": {"Retry-After": {"schema": {"type": "integer"}}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused}, 401: {"model": Refused}, 404: {"model": Refused}, 413: {"model": Refused},
    415: {"model": Refused}, 422: {"model": Refused}, 429: BUSY, 503: {"model": Refused},
}  # fmt: skip
CACHED = {"cache-control": "private, max-age=600"}
PICTURE = {"type": "string", "format": "binary"}
CHOICE = {
    "profile": {"type": "string", "example": "flange"},
    "object": {"type": "string", "example": "metal nut", "description": "in place of a profile"},
    "maps": {"type": "string", "enum": ["none", "inline"], "default": "none"},
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


def service_of(request: Request) -> Service:
    """The service that the application was made for."""
    return request.app.state.service


def part_of(request: Request, number: int) -> dict[str, Any]:
    """The part of that id. Raises `Refusal`."""
    found = service_of(request).store.part(number)
    if found is None:
        raise Refusal(404, "no-such-part", "expected the id of a part that is here, got another one")
    return found


def photo_of(request: Request, name: str | None) -> np.ndarray:
    """A photograph by its name in the store. Raises `Refusal` for one that is gone."""
    try:
        if name is None:
            raise UnusablePhoto("gone", "its photograph was removed, only the last ones are kept")
        return service_of(request).photographs.read(name)
    except UnusablePhoto as error:
        raise Refusal(404, "no-photograph", str(error)) from error


def drift_of(service: Service, name: str) -> dict[str, Any] | None:
    """How far a profile's line has drifted; None for a broken profile."""
    try:
        return service.following(service.ready(name)).found()
    except Refusal:  # a broken profile does not take the page with it
        return None
