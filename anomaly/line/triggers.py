"""Which frames are parts: every one, when something has come to rest, at a key, at a request. Judges nothing."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TextIO

import cv2
import numpy as np

from anomaly.line.frames import Frame, SourceLost

REST = 3  # frames that stand still before something has come to rest
LEVELS = 16  # of 256: what a pixel has to change by to have moved
SMALL = (160, 120)  # px, in which movement is looked for
ANSWER_WITHIN = 15.0  # s


class Every:
    """Every frame, or one in `interval` seconds."""

    ended = False

    def __init__(self, interval: float = 0.0) -> None:
        self._interval, self._last = interval, -float("inf")

    def wants(self, frame: Frame, began: float) -> bool:
        """See `frames.Trigger`."""
        if began - self._last < self._interval:
            return False
        self._last = began
        return True


class Motion:
    """The frame in which what moved has come to rest: more than `share` (0..1) of the pixels changed, then no more."""

    ended = False

    def __init__(self, share: float = 0.01) -> None:
        self._share = share
        self._before: np.ndarray | None = None
        self._moving, self._still = False, 0

    def wants(self, frame: Frame, began: float) -> bool:
        """See `frames.Trigger`."""
        small = cv2.resize(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), SMALL, interpolation=cv2.INTER_AREA)
        before, self._before = self._before, small
        if before is None:
            return False
        if float((cv2.absdiff(small, before) > LEVELS).mean()) > self._share:
            self._moving, self._still = True, 0
            return False
        self._still += 1
        if not self._moving or self._still < REST:
            return False
        self._moving = False
        return True


class Key:
    """The next frame after each line that comes in, such as Enter in a terminal; ends with its input."""

    def __init__(self, lines: TextIO = sys.stdin) -> None:
        self.ended = False
        self._asked: deque[float] = deque()
        threading.Thread(target=self._listen, args=(lines,), name="key", daemon=True).start()

    def wants(self, frame: Frame, began: float) -> bool:
        """See `frames.Trigger`."""
        wanted = bool(self._asked) and self._asked[0] <= began
        if wanted:
            self._asked.popleft()
        return wanted

    def _listen(self, lines: TextIO) -> None:
        for _ in lines:
            self._asked.append(time.monotonic())
        while self._asked:
            time.sleep(0.05)
        self.ended = True


class Http:
    """The next frame after `POST /trigger` on this computer; the answer is the verdict. `port` 0 takes any free one.

    Pages of a browser cannot trigger: requests with an Origin, or for another host's name, are refused.
    """

    ended = False

    def __init__(self, port: int) -> None:
        self._asked: deque[tuple[float, Future[Any]]] = deque()
        trigger = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0

            def do_POST(self) -> None:
                status, answer = trigger._answer(
                    self.path, self.headers.get("Origin"), self.headers.get("Host")
                )
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="trigger", daemon=True).start()

    def wants(self, frame: Frame, began: float) -> bool:
        """See `frames.Trigger`. Requests that came before the frame was asked for share it."""
        while self._asked and self._asked[0][0] <= began:
            frame.answers.append(self._asked.popleft()[1])
        return bool(frame.answers)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, origin: str | None, host: str | None) -> tuple[int, dict[str, Any]]:
        if path != "/trigger":
            return 404, {"error": "POST /trigger takes a picture and answers with its verdict"}
        if origin is not None or (host or "").rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            return 403, {"error": "only programs on this computer can trigger"}
        answer: Future[Any] = Future()
        self._asked.append((time.monotonic(), answer))
        try:
            return 200, answer.result(ANSWER_WITHIN)
        except SourceLost as error:
            return 503, {"error": str(error)}
        except TimeoutError:
            return 504, {"error": "no frame was judged in time"}
