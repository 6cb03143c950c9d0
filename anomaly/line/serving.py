"""Runs the application on uvicorn: sockets, signals, TLS, and clients that never finish their request's head."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from anomaly.errors import SteerAnomalyError
from anomaly.line.access import LOOPBACK, is_loopback
from anomaly.line.app import application
from anomaly.line.limits import Limits
from anomaly.line.service import Service

STOP_SECONDS = 30  # for requests that are being answered


def run(
    service: Service, host: str, port: int, *, token: str | None = None, hosts: tuple[str, ...] = (),
    certificate: Path | None = None, key: Path | None = None,
) -> None:  # fmt: skip
    """Serve until SIGINT or SIGTERM; what was taken is answered first."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    known = None if token is not None and not is_loopback(host) else (*LOOPBACK, host, *hosts)
    config = uvicorn.Config(
        application(service, token, known), host=host, port=port, http=_impatient(service.limits), ws="none",
        log_config=None, access_log=False, server_header=False, date_header=True, lifespan="on",
        limit_concurrency=service.limits.connections, timeout_keep_alive=20, timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=16 << 10, proxy_headers=False,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    listening = _listening(host, port)
    scheme, port = ("https" if certificate else "http"), listening.getsockname()[1]
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"the page: {address}/   the API: {address}/openapi.json   Ctrl-C stops it", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them once more at its end
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    made = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)  # whoever reads the address and asks at once waits for the start
        return made
    except OSError as error:
        if made is not None:
            made.close()
        raise SteerAnomalyError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): another program may have it; choose "
            "another --port, 0 for any that is free"
        ) from error


def _impatient(limits: Limits) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which closes a connection that has not begun a request in time: uvicorn itself waits."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(limits.head_seconds, self._close_if_silent)

        def connection_lost(self, exc: Exception | None) -> None:
            self._late.cancel()
            super().connection_lost(exc)

        def _close_if_silent(self) -> None:
            if self.cycle is None:
                self.transport.close()

    return Impatient
