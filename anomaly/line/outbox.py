"""The outbox of every sink: a verdict is on disk before anything else happens to it, and stays until it was received.

Knows no protocol. Each sink is served by a thread of its own in the order of verdicts, at least once; a message that
is given twice with one `id` is kept once.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.line.sinks.csv_file import CsvSink
from anomaly.line.sinks.delivery import Delivery, SinkDown, SinkRefused, without_password
from anomaly.line.sinks.modbus import ModbusSink
from anomaly.line.sinks.mqtt import MqttSink
from anomaly.line.sinks.webhook import WebhookSink

FILE, DEAD_LETTERS = "outbox.sqlite", "dead-letters.jsonl"
SCHEMES = "mqtt://, mqtts://, https://, http://, csv:FILE or modbus://"
TRIES = 5  # of a message that is refused, before it is a dead letter
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # s between tries, doubled each time
FRESH = 2.0  # s, how old a message may be for a sink that wants the newest only
IDLE = 10.0  # s between two looks whether a sink without work is there
REMEMBERED = 100_000  # delivered messages whose ids are kept, for each sink
_NEEDS = {"mqtt": "paho", "mqtts": "paho", "http": "httpx", "https": "httpx", "modbus": "pymodbus"}

_TABLE = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    id TEXT NOT NULL,
    made REAL NOT NULL,
    body TEXT,
    state TEXT NOT NULL DEFAULT 'waiting',  -- or sent, dead, passed (too old for a sink that wants the newest)
    UNIQUE (sink, id)
);
CREATE INDEX IF NOT EXISTS by_state ON message (sink, state, number);
"""


class Sinks:
    """All sinks of one line; made by `open_sinks`. `send` from one thread at a time."""

    def __init__(self, named: dict[str, Delivery], folder: Path, warn: Callable[[str], object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / FILE
        with _opened(self._file) as connection:
            connection.executescript(_TABLE)
        self._connection = _connect(self._file, other_threads=True)
        self._lines = [_Line(name, sink, folder, warn) for name, sink in named.items()]

    def send(self, verdict: dict[str, Any]) -> None:
        """Take a message (JSON-able, with a str `id`) for every sink; it is on disk when this returns.

        Raises `SteerAnomalyError` when it cannot be kept.
        """
        body = json.dumps(verdict, ensure_ascii=False, allow_nan=False)
        rows = [(line.name, str(verdict["id"]), time.time(), body) for line in self._lines]
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT INTO message (sink, id, made, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    rows,
                )
        except sqlite3.Error as error:
            raise SteerAnomalyError(
                f"cannot keep a verdict for its sinks in {self._file}: {error}. Free some space, or make the folder "
                "writable, and start again: nothing is lost"
            ) from error
        for line in self._lines:
            line.wake.set()

    def status(self) -> list[dict[str, Any]]:
        """For each sink its name (`sink`), how many messages are `waiting`, `sent`, `dead` or `passed`, its `error`."""
        with _opened(self._file) as connection:
            return [
                {"sink": line.name} | _counts(connection, line.name) | {"error": line.error}
                for line in self._lines
            ]

    def close(self, patience: float = 5.0) -> None:
        """Deliver what waits for up to `patience` seconds, then stop; the rest goes out after the next start."""
        for line in self._lines:
            line.leave(patience)
        for line in self._lines:
            line.join()
        self._connection.close()

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_sinks(urls: Sequence[str], folder: Path, warn: Callable[[str], object] = print) -> Sinks:
    """The sinks at `urls`, with their outbox in `folder`; `warn` is told when one is down and when it is back.

    Raises `SteerAnomalyError` for URLs that are none of ours, and for packages that are missing.
    """
    named = {without_password(url): sink_of(url) for url in urls}
    return Sinks(named, folder, warn)


def sink_of(url: str) -> Delivery:
    """The sink that a URL names. Raises `SteerAnomalyError`."""
    scheme = url.partition(":")[0].lower()
    module = _NEEDS.get(scheme)
    if module is not None and find_spec(module) is None:
        raise SteerAnomalyError(
            f"a sink {scheme}:// needs {module}, which a plain installation leaves out: "
            "pip install 'steer-anomaly[line]'"
        )
    try:
        if scheme in ("mqtt", "mqtts"):
            return MqttSink(url)
        if scheme in ("http", "https"):
            return WebhookSink(url)
        if scheme == "modbus":
            return ModbusSink(url)
        if scheme == "csv":
            return CsvSink(url)
    except SteerAnomalyError:
        raise
    except ValueError as error:  # a port that is no number
        raise SteerAnomalyError(f"cannot read the sink {without_password(url)}: {error}") from error
    raise SteerAnomalyError(f"expected a sink of {SCHEMES}, got {without_password(url)}")


class _Line:
    """One sink and the thread that serves it."""

    def __init__(self, name: str, sink: Delivery, folder: Path, warn: Callable[[str], object]) -> None:
        self.name, self.wake = name, threading.Event()
        self.error: str | None = None
        self._sink, self._folder, self._warn = sink, folder, warn
        self._leaving, self._until = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._serve, name=f"sink {name}", daemon=True)
        self._thread.start()

    def leave(self, patience: float) -> None:
        self._until = time.monotonic() + patience
        self._leaving.set()
        self.wake.set()

    def join(self) -> None:
        self._thread.join(30)

    def _serve(self) -> None:
        with _opened(self._folder / FILE) as connection:
            _prune(connection, self.name)
            while time.monotonic() < self._until:
                try:
                    if not self._serve_one(connection):
                        break
                except (
                    sqlite3.Error,
                    OSError,
                ) as error:  # such as a full disk; what was sent may go out again
                    self._is_down(f"cannot note what was sent ({error})")
                    self._pause(LONGEST_WAIT / 10)
            self._sink.close()

    def _serve_one(self, connection: sqlite3.Connection) -> bool:
        """Deliver what is next, or wait for it; whether to go on."""
        self.wake.clear()
        found = _next(connection, self.name, self._sink.newest_only)
        if found is not None:
            self._deliver_once(connection, *found)
            if found[0] % 1000 == 0:
                _prune(connection, self.name)
        elif self._leaving.is_set():
            return False
        else:
            self._idle()
            self.wake.wait(IDLE)
        return True

    def _deliver_once(self, connection: sqlite3.Connection, number: int, body: str) -> None:
        """Try until it is delivered, dead, or we leave."""
        message, refused, wait = json.loads(body), 0, FIRST_WAIT
        while time.monotonic() < self._until:
            try:
                self._sink.deliver(message)
            except SinkRefused as error:
                refused += 1
                if refused == TRIES:
                    self._bury(connection, number, message, str(error))
                    return
                asked = None
            except SinkDown as error:
                asked = error.wait
                self._is_down(str(error))
            except Exception as error:  # whatever a library raises must not end the line
                asked = None
                self._is_down(f"{type(error).__name__}: {error}")
            else:
                self._is_up()
                _settle(connection, number, "sent")
                return
            if self._sink.newest_only and _is_passed(connection, self.name, number):
                return
            self._pause(asked if asked is not None else wait * random.uniform(0.75, 1.25))
            wait = min(2 * wait, LONGEST_WAIT)

    def _idle(self) -> None:
        try:
            self._sink.idle()
        except SinkDown as error:
            self._is_down(str(error))
        except Exception as error:  # as above
            self._is_down(f"{type(error).__name__}: {error}")
        else:
            self._is_up()

    def _pause(self, seconds: float) -> None:
        if self._leaving.is_set():
            time.sleep(min(seconds, max(0.0, self._until - time.monotonic())))
        else:
            self._leaving.wait(seconds)

    def _bury(self, connection: sqlite3.Connection, number: int, message: dict[str, Any], why: str) -> None:
        letter = {"sink": self.name, "reason": why, "message": message}
        with (self._folder / DEAD_LETTERS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(letter, ensure_ascii=False) + "\n")
        _settle(connection, number, "dead")
        self._warn(f"sink {self.name} refused a verdict ({why}); it is in {self._folder / DEAD_LETTERS}")

    def _is_down(self, why: str) -> None:
        if self.error is None:
            self._warn(f"sink {self.name}: {why}; verdicts are kept and sent when it is back")
        self.error = why

    def _is_up(self) -> None:
        if self.error is not None:
            self._warn(f"sink {self.name} is back")
        self.error = None


def _connect(file: Path, other_threads: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30, check_same_thread=not other_threads)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # also over a power cut
    return connection


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    connection = _connect(file)
    try:
        yield connection
    finally:
        connection.close()


def _next(connection: sqlite3.Connection, sink: str, newest_only: bool) -> tuple[int, str] | None:
    """Number and body of the message whose turn it is."""
    if newest_only:
        now = time.time()
        with connection:  # what was made in the future is old, too: the clock was set back since
            connection.execute(
                "UPDATE message SET state = 'passed', body = NULL WHERE sink = ? AND state = 'waiting' AND "
                "made NOT BETWEEN ? AND ? AND "
                "number < (SELECT max(number) FROM message WHERE sink = ? AND state = 'waiting')",
                (sink, now - FRESH, now + FRESH, sink),
            )
    return connection.execute(
        "SELECT number, body FROM message WHERE sink = ? AND state = 'waiting' ORDER BY number LIMIT 1",
        (sink,),
    ).fetchone()


def _is_passed(connection: sqlite3.Connection, sink: str, number: int) -> bool:
    """Whether a newer message has come."""
    statement = "SELECT max(number) FROM message WHERE sink = ? AND state = 'waiting'"
    (newest,) = connection.execute(statement, (sink,)).fetchone()
    return (newest or 0) > number


def _settle(connection: sqlite3.Connection, number: int, state: str) -> None:
    with connection:
        connection.execute("UPDATE message SET state = ?, body = NULL WHERE number = ?", (state, number))


def _prune(connection: sqlite3.Connection, sink: str) -> None:
    with connection:
        connection.execute(
            "DELETE FROM message WHERE sink = ? AND state != 'waiting' AND number < "
            "(SELECT max(number) FROM message WHERE sink = ?) - ?",
            (sink, sink, REMEMBERED),
        )


def _counts(connection: sqlite3.Connection, sink: str) -> dict[str, int]:
    counted = dict(
        connection.execute("SELECT state, count(*) FROM message WHERE sink = ? GROUP BY state", (sink,))
    )
    return {state: counted.get(state, 0) for state in ("waiting", "sent", "dead", "passed")}
