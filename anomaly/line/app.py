"""Puts the service together: routes, pages, who may ask, how much, and what is said when something goes wrong."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from anomaly import __version__
from anomaly.errors import SteerAnomalyError
from anomaly.line.access import Access
from anomaly.line.api import api
from anomaly.line.limits import BodyLimit, Refusal
from anomaly.line.parts_api import parts_api
from anomaly.line.profiles_api import profiles_api
from anomaly.line.service import Service
from anomaly.line.views import views

log = logging.getLogger("steer_anomaly.line")
WARM_UP_SECONDS = 20  # that stopping waits for a model that is still being loaded


def application(service: Service, token: str | None = None, hosts: tuple[str, ...] | None = None) -> Any:
    """The ASGI application of a service, which it stops at its end. `token` and `hosts` are as in `Access`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warming = threading.Thread(target=service.warm_up, name="warm up", daemon=True)
        warming.start()
        yield
        warming.join(WARM_UP_SECONDS)
        service.stop()

    made = FastAPI(
        title="steer-anomaly", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Finds defects in photographs of parts, judged by profiles or by the part's name alone.",
    )  # fmt: skip
    made.state.service, made.state.token = service, token
    for router in (api, parts_api, profiles_api, views):
        made.include_router(router)
    _explain(made, service)
    return Access(BodyLimit(made, service.limits), token, hosts)


def _explain(made: FastAPI, service: Service) -> None:
    """Every way to fail gets the same shape, and none says where anything lies on this machine."""

    def said(refusal: Refusal) -> Response:
        service.measures.refused.labels(refusal.code).inc()
        return JSONResponse(refusal.content(), refusal.status, refusal.headers())

    @made.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return said(error)

    @made.exception_handler(SteerAnomalyError)
    async def ours(_: Request, error: SteerAnomalyError) -> Response:
        return said(Refusal(422, "not-possible", service.without_paths(str(error))))

    @made.exception_handler(sqlite3.Error)
    @made.exception_handler(OSError)
    async def full(_: Request, error: Exception) -> Response:
        return said(service.no_space(error))

    @made.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return said(Refusal(422, "invalid", f"expected another value for {place[:60]}: {first['msg'][:200]}"))

    @made.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return said(Refusal(error.status_code, "http", str(error.detail)))

    @made.exception_handler(Exception)
    async def crash(_: Request, error: Exception) -> Response:
        log.error("an error of the service itself", exc_info=error)
        return said(Refusal(500, "error", "an error of the service itself; its log says more"))
