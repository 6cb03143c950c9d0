"""How much a request may ask of the service: bytes, seconds, pixels, and how many at once. Knows no pictures.

`BodyLimit` reads a body whole before the service sees it, so that nothing behind it waits for a slow client.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """Bytes, seconds, pixels and counts.

    `body` of one request and `bodies` of all that are held at once (bytes); `body_seconds` until a body has arrived,
    `head_seconds` until a request has begun; `answer_seconds` until a picture is judged; `pixels` of a picture;
    `pictures` of one request; `waiting` pictures in the queue, of
    `waiting_pixels` together; `connections` at once; `objects` whose prompts are kept.
    """

    body: int = 32 << 20
    bodies: int = 256 << 20
    body_seconds: float = 20.0
    head_seconds: float = 10.0
    answer_seconds: float = 60.0
    pixels: int = 50_000_000
    pictures: int = 64
    waiting: int = 64
    waiting_pixels: int = 400_000_000
    connections: int = 256
    objects: int = 32


class Refusal(Exception):
    """A request that is not answered: HTTP `status`, a `code` for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def content(self) -> dict[str, Any]:
        """The body of the answer, for JSON."""
        return {"error": {"code": self.code, "message": self.message}}

    def headers(self) -> dict[str, str]:
        """Those beside the usual ones."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}

    async def send(self, send: Send, close: bool = True) -> None:
        """Answer with it; `close` ends the connection, as a body that was not read makes necessary."""
        body = json.dumps(self.content()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))} | self.headers()
        if close:
            headers["connection"] = "close"
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


class BodyLimit:
    """Holds bodies to `limits`: too large (413), too slow (408), compressed (415), too many at once (503)."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits, self._held = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            try:
                await self._read(dict(scope["headers"]), receive, body)
            except Refusal as refusal:
                await refusal.send(send)
                return
            await self._app(scope, _replayed(bytes(body), receive), send)
        finally:
            self._held -= len(body)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive, body: bytearray) -> None:
        self._check_head(headers)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while await self._more(receive, body):
                    pass
        except TimeoutError as error:
            raise Refusal(
                408, "too-slow",
                f"expected the whole body within {self._limits.body_seconds:g} seconds, {len(body)} bytes had come; "
                "send it again over a faster connection, or a smaller picture",
            ) from error  # fmt: skip

    def _check_head(self, headers: dict[bytes, bytes]) -> None:
        coding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        if coding != "identity":
            raise Refusal(
                415, "compressed", f"expected a body as it is, got content-encoding {coding[:20]!r}; send the picture "
                "itself, JPEG and PNG are compressed already",
            )  # fmt: skip
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 15 or int(length) > self._limits.body:
            raise self._too_large()

    async def _more(self, receive: Receive, body: bytearray) -> bool:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "gone", "the connection was closed before the body had come; send it again")
        piece = message.get("body", b"")
        if len(body) + len(piece) > self._limits.body:
            raise self._too_large()
        if self._held + len(piece) > self._limits.bodies:
            raise Refusal(
                503, "busy", "expected fewer large requests at a time; send it again in a second", retry_after=1
            )  # fmt: skip
        body += piece
        self._held += len(piece)
        return message.get("more_body", False)

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "too-large", f"expected a body of at most {self._limits.body >> 20} MB, got a larger one; send fewer "
            "pictures at a time, or JPEG",
        )  # fmt: skip


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What the service reads: the body at once, and after it what the connection says."""
    told = False

    async def next_message() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
