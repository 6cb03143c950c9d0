"""Folders on this machine and folders behind a URL, by one interface; fsspec knows the stores. Knows no images.

What is written is there whole or not at all: by rename on a disk, by one upload in an object store.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from anomaly.errors import SteerAnomalyError
from anomaly.runs.saving import explained
from steervit.files import write_whole

DRIVERS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
}
# What a store's driver is given: connections for as many readers as `table` has.
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": {"max_pool_connections": 64}}}
TRIES, FIRST_WAIT, LONGEST_WAIT = 6, 0.2, 10.0  # seconds; doubled from try to try, each times 0.5 to 1
Result = TypeVar("Result")


def is_url(text: str) -> bool:
    """Whether `text` names something behind a URL, such as s3://bucket/folder."""
    return "://" in text and not text.startswith("file://")


def store_of(text: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it. Raises `SteerAnomalyError` for a missing driver."""
    import fsspec

    try:
        if is_url(text):
            options = OPTIONS.get(DRIVERS.get(text.split("://")[0], ""), {})
            return fsspec.core.url_to_fs(text, use_listings_cache=False, **options)
        return fsspec.core.url_to_fs(os.path.abspath(text.removeprefix("file://")))  # noqa: PTH100  links stay
    except ImportError as error:
        scheme = text.split("://")[0]
        extra = DRIVERS.get(scheme)
        how = f"pip install 'steer-anomaly[{extra}]'" if extra else str(error)
        raise SteerAnomalyError(f"reading {scheme}:// needs a driver that is not installed: {how}") from error
    except ValueError as error:
        raise SteerAnomalyError(
            f"expected a path or a URL that fsspec knows, got {text!r}: {error}"
        ) from error


def patiently(action: Callable[[], Result], tries: int = TRIES) -> Result:
    """What `action` returns, tried again where the store is busy or the line breaks; what is missing stays missing.

    Raises its last `OSError`; `FileNotFoundError` and `PermissionError` at once.
    """
    wait = FIRST_WAIT
    for attempt in range(tries):
        try:
            return action()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
            raise
        except Exception as error:  # drivers raise their own: botocore's, aiohttp's
            if attempt + 1 == tries:
                raise (
                    error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
                ) from error
            time.sleep(min(wait, LONGEST_WAIT) * random.uniform(0.5, 1))
            wait *= 2
    raise AssertionError  # the loop returns or raises


class Place:
    """The folder `url`: a path of this machine, or a URL. Opening it makes nothing. May be sent to other processes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") if is_url(url) else os.path.abspath(url)  # noqa: PTH100
        self.remote = is_url(url)
        self._opened: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    @property
    def _store(self) -> tuple[Any, str]:
        if self._opened is None or self._opened[0] != os.getpid():  # connections do not outlive a fork
            self._opened = (os.getpid(), *store_of(self.url))
        return self._opened[1:]

    @property
    def path(self) -> Path:
        """Where it lies on this machine. For places that are not remote only."""
        assert not self.remote
        return Path(self.url)

    def full(self, name: str) -> str:
        """The path or URL of `name` in it, as others open it."""
        return f"{self.url}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Put `data` at `name`, whole or not at all. Raises `OSError`."""
        if not self.remote:
            write_whole(self.path / name, data)
            return
        store, root = self._store
        patiently(lambda: store.pipe_file(f"{root}/{name}", data))

    def write_json(self, name: str, content: Any) -> None:
        """Put `content` at `name` as JSON, whole or not at all. Raises `OSError`."""
        self.write(name, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())

    def read(self, name: str) -> bytes:
        """Everything at `name`. Raises `FileNotFoundError`, and `OSError` when it cannot be read."""
        if not self.remote:
            return (self.path / name).read_bytes()
        store, root = self._store
        return patiently(lambda: store.cat_file(f"{root}/{name}"))

    def open(self, name: str) -> Any:
        """A file to read parts of. Raises `OSError`."""
        store, root = self._store
        return patiently(lambda: store.open(f"{root}/{name}", "rb", cache_type="none"))

    def read_json(self, name: str) -> Any:
        """The JSON at `name`; None where there is none. Raises `OSError`, `ValueError`."""
        with suppress(FileNotFoundError):
            return json.loads(self.read(name))
        return None

    def files(self, folder: str) -> list[str]:
        """Names of the files right in `folder`, sorted, without hidden ones. Empty where there is no such folder."""
        if not self.remote:
            with suppress(FileNotFoundError):
                found = sorted(one.name for one in os.scandir(self.path / folder) if one.is_file())
                return [name for name in found if not name.startswith(".")]
            return []
        store, root = self._store
        with suppress(FileNotFoundError):
            listed = patiently(lambda: store.ls(f"{root}/{folder}", detail=True, refresh=True))
            return sorted(one["name"].rsplit("/", 1)[-1] for one in listed if one["type"] == "file")
        return []

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right in `folder`, sorted."""
        store, root = self._store
        with suppress(FileNotFoundError):
            listed = patiently(lambda: store.ls(f"{root}/{folder}", detail=True))
            return sorted(
                one["name"].rstrip("/").rsplit("/", 1)[-1] for one in listed if one["type"] == "directory"
            )
        return []

    def exists(self, name: str) -> bool:
        """Whether there is something at `name`."""
        store, root = self._store
        return patiently(lambda: store.exists(f"{root}/{name}"))

    def remove(self, name: str) -> None:
        """Delete the file or the whole folder at `name`; nothing happens where there is none. Raises `OSError`."""
        store, root = self._store
        with suppress(FileNotFoundError):
            patiently(lambda: store.rm(f"{root}/{name}", recursive=True))

    def drop_leftovers(self, folder: str) -> None:
        """Delete what writers that were killed left half-written in `folder`. No other writer may be at work there."""
        if self.remote:
            return  # an upload that was not finished is not there
        for path in self._hidden(folder):
            path.unlink(missing_ok=True)

    def _hidden(self, folder: str) -> Iterator[Path]:
        with suppress(FileNotFoundError):
            yield from (self.path / folder).glob(".*.part")


def told(place: Place, what: str) -> AbstractContextManager[None]:
    """A context in which an `OSError` while `what` is read or written becomes an `OutputError` that says what to do."""
    return explained(what, place.url, None)  # type: ignore[arg-type]  # which only shows the place
