"""What images an input holds: a folder, a glob, a list, a table of paths, tar shards; here or behind a URL.

Opens no image. Inputs are gone through one after the other and never held as a whole.
"""

from __future__ import annotations

import glob
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from anomaly.archive.places import is_url, patiently, store_of
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.inputs import collect, images_below
from anomaly.pictures.suffixes import is_image_name

TABLES, TARS = (".parquet", ".csv"), (".tar",)
PATHS = (
    "path",
    "file",
    "image",
    "url",
    "uri",
    "key",
    "filename",
    "file_name",
)  # columns of a table, the first that is there
TIMES = ("taken", "time", "timestamp", "date")
EPOCH = datetime.fromtimestamp(0, UTC)
BATCH = 16_384  # rows of a table at a time


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


def entries_of(inputs: Iterable[str], column: str | None = None) -> Iterator[Entry]:
    """The images of `inputs`, in the order of their listing; the same image may come twice.

    `column` names the column of paths of a table. Raises `SteerAnomalyError` for an input that is none.
    """
    for text in inputs:
        yield from _of_one(text, column)


def may_repeat(inputs: Iterable[str]) -> bool:
    """Whether an image may be listed twice: in a table or a list, and where there are several inputs."""
    inputs = list(inputs)
    return len(inputs) > 1 or any(one.lower().endswith((*TABLES, ".txt")) for one in inputs)


def _of_one(text: str, column: str | None) -> Iterator[Entry]:
    suffix = PurePosixPath(text).suffix.lower()
    if glob.has_magic(text) and not Path(text).exists():
        matches = _matches(text)
        if not matches and is_url(text):
            raise SteerAnomalyError(f"expected images, tables or tars, nothing matches {text}")
        for match in matches if suffix in (*TABLES, *TARS) or is_url(text) else []:
            yield from _of_one(match, column)
        if suffix not in (*TABLES, *TARS) and not is_url(text):
            yield from (_local(str(path)) for path in collect([text]))
    elif suffix in TABLES:
        yield from _of_table(text, column)
    elif suffix in TARS:
        yield from _of_tar(text)
    elif text.lower().endswith((".tar.gz", ".tgz", ".tar.zst")):
        raise SteerAnomalyError(
            f"expected a plain tar, whose members can be read one by one, got {text}: unpack it"
        )
    elif is_url(text):
        yield from _behind(text)
    elif Path(text).is_dir():
        for path in images_below(Path(text)):
            yield _local(str(path))
        for tar in sorted(Path(text).glob("*.tar")):
            yield from _of_tar(str(tar))
    else:
        yield from (_local(str(path)) for path in collect([text]))


def _matches(pattern: str) -> list[str]:
    if not is_url(pattern):
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
    store, inside = store_of(pattern)
    return sorted(store.unstrip_protocol(one) for one in patiently(lambda: store.glob(inside)))


def _local(path: str) -> Entry:
    absolute = os.path.abspath(path)  # noqa: PTH100  links stay
    # Names on disk need not be UTF-8, a table's texts have to be: such an image becomes an error that shows its name.
    named = absolute.encode("utf-8", "backslashreplace").decode()
    try:
        status = Path(absolute).stat()
    except OSError:
        return Entry(named, "missing")
    taken = EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)  # a float's seconds would round
    return Entry(named, f"{status.st_size}-{status.st_mtime_ns}", status.st_size, taken)


def _behind(url: str) -> Iterator[Entry]:
    """The images below a URL, folder by folder."""
    store, root = store_of(url)
    if is_image_name(PurePosixPath(url).name) and patiently(lambda: store.isfile(root)):
        yield _remote(store, patiently(lambda: store.info(root)))
        return
    found = False
    for folder in _walked(store, root):
        found = found or bool(folder)
        for name in sorted(folder):
            if is_image_name(name):
                yield _remote(store, folder[name])
        for name in sorted(folder):
            if name.lower().endswith(TARS):
                yield from _of_tar(store.unstrip_protocol(folder[name]["name"]))
    if not found:
        raise SteerAnomalyError(f"expected a folder of images, there is nothing at {url}")


def _walked(store: Any, root: str) -> Iterator[dict[str, Any]]:
    """The files of each folder below `root`, by name; one folder in memory at a time, hidden ones passed over."""
    try:
        listed = patiently(lambda: store.ls(root, detail=True))
    except FileNotFoundError:
        return
    named = {one["name"].rstrip("/").rsplit("/", 1)[-1]: one for one in listed}
    yield {name: one for name, one in named.items() if one["type"] == "file"}
    for name in sorted(named):
        if named[name]["type"] == "directory" and not name.startswith("."):
            yield from _walked(store, named[name]["name"])


def _remote(store: Any, info: dict[str, Any]) -> Entry:
    changed = next(
        (info[key] for key in ("LastModified", "last_modified", "updated", "mtime") if info.get(key)), None
    )
    if isinstance(changed, int | float):
        changed = datetime.fromtimestamp(changed, UTC)
    elif isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    etag = next((info[key] for key in ("ETag", "etag", "md5Hash") if info.get(key)), None)
    version = str(etag).strip('"') if etag else f"{info.get('size')}-{changed}"
    return Entry(store.unstrip_protocol(info["name"]), version, info.get("size"), changed)


def _of_tar(url: str) -> Iterator[Entry]:
    """The images in a tar, with where their bytes lie in it. Of a WebDataset shard every image of every sample."""
    shard = next(iter(_infos([url])))
    store, inside = store_of(url)
    try:
        with store.open(inside, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile() and is_image_name(PurePosixPath(member.name).name):
                    taken = datetime.fromtimestamp(member.mtime, UTC) if member.mtime else shard.taken
                    path = f"tar://{member.name}::{shard.path}"
                    yield Entry(path, shard.version, member.size, taken, member.offset_data)
    except (tarfile.TarError, OSError) as error:
        raise SteerAnomalyError(f"expected a tar of images, {url} cannot be read as one: {error}") from error


def _infos(paths: Iterable[str]) -> Iterator[Entry]:
    """Each path or URL with the state of its file; one that is missing is told when it is read."""
    for path in paths:
        if not is_url(path):
            yield _local(path)
            continue
        store, inside = store_of(path)
        try:
            yield _remote(store, patiently(lambda store=store, inside=inside: store.info(inside)))  # type: ignore[misc]
        except FileNotFoundError:
            yield Entry(path, "missing")


def _of_table(url: str, column: str | None) -> Iterator[Entry]:
    """The images that a Parquet or CSV file names, relative to it. Its sizes, versions and times are believed."""
    parent = url.rsplit("/", 1)[0] if "/" in url else "."
    for rows in _batches(url):
        names = rows.column_names
        paths = column or next((one for one in PATHS if one in names), names[0] if len(names) == 1 else None)
        if paths not in names:
            raise SteerAnomalyError(
                f"expected a column of paths called {column or ', '.join(PATHS)} in {url}, it has {', '.join(names)}: "
                "name it with --column"
            )
        version = next((one for one in ("version", "etag") if one in names), None)
        taken = next((one for one in TIMES if one in names), None)
        for row in rows.to_pylist():
            text = str(row[paths])
            full = text if is_url(text) or text.startswith("/") else f"{parent}/{text}"
            known = row.get(version) if version else None
            when = _time(row.get(taken) if taken else None, url)
            if known is not None:
                place = full if is_url(full) else os.path.abspath(full)  # noqa: PTH100
                yield Entry(place, str(known), row.get("size"), when)
            else:
                entry = next(iter(_infos([full])))
                yield Entry(entry.path, entry.version, entry.size, when or entry.taken)


def _batches(url: str) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    store, inside = store_of(url)
    try:
        with store.open(inside, "rb") as file:
            if url.lower().endswith(".parquet"):
                yield from parquet.ParquetFile(file).iter_batches(BATCH)
            else:
                yield from csv.open_csv(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise SteerAnomalyError(f"expected a table of paths, {url} cannot be read as one: {error}") from error


def _time(value: Any, url: str) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
    except (ValueError, AttributeError) as error:
        raise SteerAnomalyError(f"expected times in ISO 8601 in {url}, got {value!r}") from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)
