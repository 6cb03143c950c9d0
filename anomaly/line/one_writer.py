"""One thread that writes to an SQLite file, so that none waits for another's lock. Knows no tables.

Changes that wait share one commit, and each is done when it is on the disk.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

TOGETHER = 64  # changes that share one commit

Change = Callable[[sqlite3.Connection], Any]


class OneWriter:
    """`connect` opens the file in autocommit mode, in the thread that writes."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._changes: queue.Queue[tuple[Change, Future] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._thread.start()

    def do(self, change: Change) -> Future:
        """Have it done; the future has its result once it is on the disk, or what it raised."""
        done: Future = Future()
        self._changes.put((change, done))
        return done

    def close(self) -> None:
        """Write what waits, and end."""
        self._changes.put(None)
        self._thread.join()

    def _write(self) -> None:
        with closing(self._connect()) as connection:
            while (first := self._changes.get()) is not None:
                _commit(connection, [first, *self._waiting()])

    def _waiting(self) -> Iterator[tuple[Change, Future]]:
        for _ in range(TOGETHER):
            try:
                found = self._changes.get_nowait()
            except queue.Empty:
                return
            if found is None:
                self._changes.put(None)  # the end, after these
                return
            yield found


def _commit(connection: sqlite3.Connection, changes: Sequence[tuple[Change, Future]]) -> None:
    """One commit for all; one that fails takes none of the others with it."""
    results: list[tuple[Future, Any]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for change, done in changes:
            connection.execute("SAVEPOINT one")
            try:
                results.append((done, change(connection)))
            except Exception as error:  # whoever waits is told, and the thread lives on
                connection.execute("ROLLBACK TO one")
                done.set_exception(error)
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except sqlite3.Error as error:  # such as a full disk: nobody is told that it was kept
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for _, done in changes:
            if not done.done():
                done.set_exception(error)
        return
    for done, result in results:
        done.set_result(result)
