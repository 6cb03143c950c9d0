"""What came of every part, and what people said of it, in one SQLite file (WAL). Knows no model and no pixels.

All writing is done by one thread, and what was written is on the disk before `add` is done: a part whose answer
somebody has is never lost. A second process on the same folder is refused.
"""

from __future__ import annotations

import json
import queue
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from anomaly.errors import SteerAnomalyError
from anomaly.line.one_writer import Change, OneWriter

FILE = "line.sqlite"
VERSION = 1  # of the tables
SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, received TEXT NOT NULL, profile TEXT, version INTEGER, object TEXT NOT NULL,
  verdict TEXT NOT NULL, score REAL, threshold REAL, p_value REAL, spreads REAL, width INTEGER, height INTEGER,
  milliseconds REAL, name TEXT, content TEXT NOT NULL, digest TEXT, answer TEXT NOT NULL, heat BLOB, evidence BLOB,
  photo TEXT);
CREATE INDEX IF NOT EXISTS parts_received ON parts (received);
CREATE INDEX IF NOT EXISTS parts_profile ON parts (profile, id);
CREATE TABLE IF NOT EXISTS feedback (
  id INTEGER PRIMARY KEY AUTOINCREMENT, part INTEGER NOT NULL REFERENCES parts (id), was TEXT NOT NULL,
  verdict TEXT NOT NULL, profile TEXT, version INTEGER, note TEXT, given TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS feedback_part ON feedback (part, id);
CREATE TABLE IF NOT EXISTS goods (
  profile TEXT NOT NULL, content TEXT NOT NULL, photo TEXT NOT NULL, name TEXT, origin TEXT NOT NULL, part INTEGER,
  added TEXT NOT NULL, PRIMARY KEY (profile, content));
"""
PART_COLUMNS = (
    "received", "profile", "version", "object", "verdict", "score", "threshold", "p_value", "spreads", "width",
    "height", "milliseconds", "name", "content", "digest", "answer", "heat", "evidence", "photo",
)  # fmt: skip
LISTED = ", ".join(["id", *(name for name in PART_COLUMNS if name not in ("digest", "heat", "evidence"))])


class Store:
    """The file below `folder`, which is made where it is not there.

    Raises `SteerAnomalyError` when another process has it, or it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "line.lock", thread_local=False)
            self._lock.acquire(timeout=0)
            with closing(self._connect()) as connection, connection:
                _prepare(connection, self._path)
        except Timeout as error:
            raise SteerAnomalyError(
                f"expected to be the only service with its data in {folder}, another one is running; stop it, or "
                "choose another --data"
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise SteerAnomalyError(
                f"expected a folder for results that can be written to, {folder} cannot ({error}); choose --data"
            ) from error
        self._free: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()  # as many as ever read at a time
        self._writer = OneWriter(self._connect)

    def close(self) -> None:
        """Write what is left, and let others have the file."""
        self._writer.close()
        while not self._free.empty():
            self._free.get_nowait().close()
        self._lock.release()

    # Writing ---------------------------------------------------------------------------------------------

    def add(self, part: Mapping[str, Any]) -> Future[int]:
        """Keep a part, a value for each of `PART_COLUMNS`; its id, once it is on the disk."""
        values = [part[name] for name in PART_COLUMNS]
        marks = ", ".join("?" * len(PART_COLUMNS))
        statement = f"INSERT INTO parts ({', '.join(PART_COLUMNS)}) VALUES ({marks})"
        return self.change(lambda connection: connection.execute(statement, values).lastrowid)

    def tell(self, part: Mapping[str, Any], was: str, note: str | None) -> Future[int]:
        """Keep that a part `was` "good" or a "defect", beside what the verdict had been."""
        values = (part["id"], was, part["verdict"], part["profile"], part["version"], note, now())
        columns = "part, was, verdict, profile, version, note, given"
        statement = f"INSERT INTO feedback ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"
        return self.change(lambda connection: connection.execute(statement, values).lastrowid)

    def add_good(
        self, profile: str, content: str, photo: str, name: str | None, origin: str, part: int | None = None
    ) -> bool:
        """Keep a picture of a good part for a profile; False where its content is there already."""
        values = (profile, content, photo, name, origin, part, now())
        statement = "INSERT OR IGNORE INTO goods VALUES (?, ?, ?, ?, ?, ?, ?)"
        return bool(self.change(lambda connection: connection.execute(statement, values).rowcount).result())

    def remove_goods(self, profile: str, contents: Sequence[str]) -> None:
        """Forget good pictures of a profile."""
        pairs = [(profile, content) for content in contents]
        self.change(
            lambda connection: connection.executemany(
                "DELETE FROM goods WHERE profile = ? AND content = ?", pairs
            )
        ).result()

    def forget_photos(self, keep: int) -> list[str]:
        """Forget photographs and maps of all but the last `keep` parts; the paths that nobody needs now."""

        def change(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(
                "SELECT photo FROM parts WHERE photo IS NOT NULL AND id <= (SELECT max(id) FROM parts) - ? AND photo "
                "NOT IN (SELECT photo FROM goods) AND id NOT IN (SELECT part FROM feedback)", (keep,),
            ).fetchall()  # fmt: skip
            connection.executemany(
                "UPDATE parts SET photo = NULL, evidence = NULL, heat = NULL WHERE photo = ?", found
            )
            return [row[0] for row in found]

        return self.change(change).result()

    def change(self, change: Change) -> Future:
        """Have the writer do it; done when it is on the disk."""
        return self._writer.do(change)

    # Reading ---------------------------------------------------------------------------------------------

    def part(self, number: int) -> dict[str, Any] | None:
        """A part with all its columns and `was`, the last that was said of it; None where there is none."""
        found = self._read("SELECT * FROM parts WHERE id = ?", (number,))
        return self._with_feedback(found)[0] if found else None

    def parts(
        self, limit: int = 50, after: int = 0, before: int | None = None, profile: str | None = None,
        verdict: str | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The last parts, newest first, without pictures; with ids above `after` and below `before`."""
        wanted: list[tuple[str, Any]] = [("id > ?", after)]
        for column, value in (("id < ?", before), ("profile = ?", profile), ("verdict = ?", verdict)):
            if value is not None:
                wanted.append((column, value))
        where = " AND ".join(column for column, _ in wanted)
        values = (*(value for _, value in wanted), limit)
        return self._with_feedback(
            self._read(f"SELECT {LISTED} FROM parts WHERE {where} ORDER BY id DESC LIMIT ?", values)
        )

    def scores(self, profile: str, version: int) -> list[dict[str, Any]]:
        """Id, verdict and score of all parts judged by one version of a profile, in order."""
        return self._read(
            "SELECT id, verdict, score FROM parts WHERE profile = ? AND version = ? ORDER BY id",
            (profile, version),
        )

    def counts(self, since: str, profile: str | None = None) -> dict[str, int]:
        """How many parts of each verdict since a time (ISO 8601, local)."""
        more, values = ("", ()) if profile is None else (" AND profile = ?", (profile,))
        rows = self._read(
            f"SELECT verdict, count(*) AS n FROM parts WHERE received >= ?{more} GROUP BY verdict",
            (since, *values),
        )
        return {row["verdict"]: row["n"] for row in rows}

    def told(self, profile: str) -> list[dict[str, Any]]:
        """Parts of a profile that something was said of: id, verdict then, score, `was` (the last word), `given`."""
        return self._read(
            "SELECT p.id, p.verdict, p.score, p.version, p.name, p.photo, f.was, f.note, f.given FROM feedback f JOIN "
            "parts p ON p.id = f.part WHERE p.profile = ? AND f.id = (SELECT max(id) FROM feedback WHERE part = p.id) "
            "ORDER BY f.id DESC", (profile,),
        )  # fmt: skip

    def goods(self, profile: str) -> list[dict[str, Any]]:
        """The good pictures kept for a profile, in the order in which they came."""
        return self._read("SELECT * FROM goods WHERE profile = ? ORDER BY added, content", (profile,))

    def good(self, content: str) -> dict[str, Any] | None:
        """A good picture by its content, of any profile."""
        found = self._read("SELECT * FROM goods WHERE content = ? LIMIT 1", (content,))
        return found[0] if found else None

    def drafts(self) -> list[str]:
        """Names that good pictures are kept for, whether or not there is a profile yet."""
        return [
            row["profile"] for row in self._read("SELECT DISTINCT profile FROM goods ORDER BY profile", ())
        ]

    def photos(self) -> set[str]:
        """Every photograph that a part or a profile needs."""
        return {
            row["photo"] for row in self._read("SELECT photo FROM parts UNION SELECT photo FROM goods", ())
        }

    def _with_feedback(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        marks = ", ".join("?" * len(rows))
        said = self._read(
            f"SELECT part, was FROM feedback WHERE part IN ({marks}) ORDER BY id", [row["id"] for row in rows]
        )
        was = {row["part"]: row["was"] for row in said}
        return [row | {"was": was.get(row["id"]), "answer": json.loads(row["answer"])} for row in rows]

    def _read(self, statement: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        try:
            connection = self._free.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(statement, values)]
        finally:
            self._free.put(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables where there are none. Raises `SteerAnomalyError` for those of a later version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SteerAnomalyError(
            f"expected results of version {VERSION} at most, {path} holds version {version}: a newer steer-anomaly "
            "wrote it; use that one, or choose another --data"
        )
    connection.executescript(SCHEMA)
    connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """A `Store` that is closed at the end."""
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


def now() -> str:
    """The time that it is here, ISO 8601 to the millisecond, with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def today() -> str:
    """When this day began here, in a form that compares with `now`."""
    return now()[:10]
