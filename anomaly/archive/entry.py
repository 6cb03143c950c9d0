"""One image of an archive before it is read; what its file's state says of its version. Opens nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from anomaly.archive.places import is_url, patiently, store_of

EPOCH = datetime.fromtimestamp(0, UTC)
MISSING = "missing"  # the version of what is not there; told when it is read


@dataclass(frozen=True)
class Entry:
    """One image of an archive, before it is read.

    `path` is a path or URL that fsspec opens (`tar://member::shard` in a tar), `version` tells one state of the file
    from another (its etag, or size and time of change), `taken` is when the picture was taken as far as is known: from
    the table of paths, else when the file changed. `offset` is where its bytes begin in a tar. `size` in bytes.
    """

    path: str
    version: str
    size: int | None = None
    taken: datetime | None = None
    offset: int | None = None

    @property
    def id(self) -> str:
        """32 hex digits from path and version: the same image has the same id in every listing."""
        return hashlib.sha256(f"{self.path}\0{self.version}".encode("utf-8", "surrogateescape")).hexdigest()[
            :32
        ]


def local(path: str) -> Entry:
    """The image at a path of this machine, with size and time of change for a version."""
    absolute = os.path.abspath(path)  # noqa: PTH100  links stay
    try:
        status = Path(absolute).stat()
    except (OSError, ValueError):  # of a name no file can have, too
        return Entry(as_text(absolute), MISSING)
    taken = EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)  # a float's seconds would round
    return Entry(as_text(absolute), f"{status.st_size}-{status.st_mtime_ns}", status.st_size, taken)


def remote(store: Any, info: dict[str, Any]) -> Entry:
    """The image of a store, by what fsspec says of it, with its etag for a version."""
    changed = next(
        (info[key] for key in ("LastModified", "last_modified", "updated", "mtime") if info.get(key)), None
    )
    if isinstance(changed, int | float):
        changed = datetime.fromtimestamp(changed, UTC)
    elif isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    etag = next((info[key] for key in ("ETag", "etag", "md5Hash") if info.get(key)), None)
    version = str(etag).strip('"') if etag else f"{info.get('size')}-{changed}"
    return Entry(as_text(store.unstrip_protocol(info["name"])), version, info.get("size"), changed)


def at(paths: Iterable[str]) -> Iterator[Entry]:
    """Each path or URL with the state of its file; one that is missing is told when it is read."""
    for path in paths:
        if not is_url(path):
            yield local(path)
            continue
        store, inside = store_of(path)
        try:
            yield remote(store, patiently(lambda store=store, inside=inside: store.info(inside)))  # type: ignore[misc]
        except FileNotFoundError:
            yield Entry(as_text(path), MISSING)


def as_text(name: str) -> str:
    """A name as a table can hold it. Names need not be UTF-8, texts have to be: such an image shows its bytes."""
    return name.encode("utf-8", "backslashreplace").decode()
