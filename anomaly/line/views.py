"""The page: a live strip of parts, one part, one profile. Serves files of this package only; decides nothing."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from anomaly import __version__
from anomaly.line.access import COOKIE, same, session_of
from anomaly.line.limits import Refusal
from anomaly.line.routes import service_of
from anomaly.report.html import environment

PAGES = "anomaly.line.templates"
STATIC = {  # file -> (package, media type)
    "report.css": ("anomaly.report.templates", "text/css"), "line.css": (PAGES, "text/css"),
    "nodes.js": ("anomaly.report.templates", "text/javascript"),
    "shared.js": (PAGES, "text/javascript"), "live.js": (PAGES, "text/javascript"),
    "part.js": (PAGES, "text/javascript"), "profile.js": (PAGES, "text/javascript"),
    "icon.svg": (PAGES, "image/svg+xml"),
}  # fmt: skip
views = APIRouter(include_in_schema=False)


@views.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the page."""
    if name not in STATIC:
        raise Refusal(404, "no-such-file", "expected a file of the page, got another name")
    package, kind = STATIC[name]
    content = (files(package) / name).read_bytes()
    return Response(content, media_type=kind, headers={"cache-control": "max-age=60"})


@views.get("/")
def live(request: Request) -> Response:
    """The last parts, as they come."""
    return _page(request, "live.html", profiles=service_of(request).shelf.names())


@views.get("/parts/{number}")
def part(request: Request, number: int) -> Response:
    """One part."""
    if service_of(request).store.part(number) is None:
        return _page(request, "lost.html", 404, what=f"part {number}")
    return _page(request, "part.html", number=number)


@views.get("/profiles")
def profiles(request: Request) -> Response:
    """All profiles, and the way to a new one."""
    service = service_of(request)
    names = service.shelf.names()
    return _page(
        request,
        "profiles.html",
        names=names,
        drafts=[one for one in service.store.drafts() if one not in names],
    )


@views.get("/profiles/{name}")
def profile(request: Request, name: str) -> Response:
    """One profile, there or not yet."""
    service_of(request).shelf.versions(name)  # refuses what is no name
    return _page(request, "profile.html", name=name)


@views.get("/login")
def login(request: Request) -> Response:
    """Asks for the token."""
    return _page(request, "login.html", wrong=False)


@views.post("/login")
async def let_in(request: Request) -> Response:
    """Takes the token, and has the browser keep what proves it."""
    token = request.app.state.token
    given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0].strip()
    if token is None or not same(given, token):
        return _page(request, "login.html", 401, wrong=True)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure, max_age=30 * 86400
    )
    return answer


def _page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    text = (
        environment("anomaly.line")
        .get_template(template)
        .render(
            version=__version__,
            mark=_mark(),
            path=request.url.path,
            asks_token=request.app.state.token is not None,
            **values,
        )
    )
    return HTMLResponse(text, status, headers={"cache-control": "no-store"})


@cache
def _mark() -> str:
    """Changes whenever a file of the page does, so that browsers ask for it anew."""
    content = b"".join((files(package) / name).read_bytes() for name, (package, _) in STATIC.items())
    return hashlib.sha256(content).hexdigest()[:8]
