"""Who may ask: the token, the host's name, and pages of other origins, which may not. Knows no routes but open ones.

Sets the headers that keep a browser from loading anything from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from anomaly.errors import SteerAnomalyError
from anomaly.line.limits import App, Message, Receive, Refusal, Scope, Send

COOKIE = "steer_anomaly"
OPEN = ("/healthz", "/readyz", "/login")  # without a token; so are files below /static/
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SHORTEST_TOKEN = 16  # characters
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def read_token(path: Path) -> str:
    """The token in a file, its first line. Raises `SteerAnomalyError` for a file without one, or a short one."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SteerAnomalyError(
            f"expected a file with a token, {path} cannot be read ({error.__class__.__name__}); write one with "
            "`openssl rand -hex 32`"
        ) from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or any(c.isspace() for c in token):
        raise SteerAnomalyError(
            f"expected a token of at least {SHORTEST_TOKEN} characters without blanks in {path}, got one of "
            f"{len(token)}; write one with `openssl rand -hex 32`"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service bound to `host`."""
    return host in LOOPBACK or host.startswith("127.")


class Access:
    """Lets through who has the `token` (None: anyone who reaches us) and is asked for by a name that is ours.

    `hosts` are the names a browser may know us by; None for any, where a token is asked for anyway: a page elsewhere
    can make its own name point here, and only the `Host` header tells.
    """

    def __init__(self, app: App, token: str | None, hosts: tuple[str, ...] | None) -> None:
        self._app, self._token, self._hosts = app, token, hosts
        self._session = None if token is None else session_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = list(message["headers"]) + [
                    (name.encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.encode() not in known
                ]
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            if refusal.status == 401 and _wants_page(scope):
                await _to_login(with_headers)
            else:
                await refusal.send(with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _check(self, scope: Scope) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._check_host(headers.get("host", ""))
        _check_origin(scope, headers)
        path = scope["path"]
        if self._token is None or path in OPEN or path.startswith("/static/"):
            return
        if not (self._has_token(headers) or self._has_session(headers)):
            raise Refusal(
                401, "no-token", "expected the service's token as `Authorization: Bearer TOKEN`, got none or another"
            )  # fmt: skip

    def _check_host(self, host: str) -> None:
        if self._hosts is None:
            return
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._hosts:
            raise Refusal(
                421, "other-host", "expected the name this service runs under in the Host header, got another one; "
                "add it with --allow-host",
            )  # fmt: skip

    def _has_token(self, headers: dict[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        return kind.lower() == "bearer" and same(given.strip(), self._token)

    def _has_session(self, headers: dict[str, str]) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same(cookie.value, self._session or "")


def same(given: str, expected: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(), expected.encode())


def session_of(token: str) -> str:
    """What a browser keeps in place of the token."""
    return hmac.new(token.encode(), b"steer-anomaly page", hashlib.sha256).hexdigest()


def _check_origin(scope: Scope, headers: dict[str, str]) -> None:
    """Pages of other origins may follow a link here and no more."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    ours = origin is None or urlsplit(origin).netloc == headers.get("host")
    if scope["method"] not in ("GET", "HEAD"):
        allowed = ours and site in ("same-origin", "none")
    else:
        link = headers.get("sec-fetch-mode") == "navigate" and not scope["path"].startswith("/v1/")
        allowed = ours and (site in ("same-origin", "none") or link)
    if not allowed:
        raise Refusal(
            403, "other-origin", "expected a request of this service's own page, got one of another site"
        )


def _wants_page(scope: Scope) -> bool:
    accepted = dict(scope["headers"]).get(b"accept", b"")
    return scope["method"] == "GET" and b"text/html" in accepted


async def _to_login(send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 303,
            "headers": [(b"location", b"/login"), (b"content-length", b"0")],
        }
    )
    await send({"type": "http.response.body", "body": b""})
