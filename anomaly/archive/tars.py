"""Images in plain tar files, such as WebDataset shards: listed with where their bytes lie, and read there."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import PurePosixPath

from anomaly.archive.entry import Entry, as_text, at
from anomaly.archive.places import is_url, patiently, store_of
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.suffixes import is_image_name

SCHEME = "tar://"
BLOCK = 512  # bytes; a tar ends with blocks of zeros, or where the file does
BELIEVED = 60  # seconds that a tar in a store is taken for unchanged without asking again


def members(url: str) -> Iterator[Entry]:
    """The images in a tar; of a WebDataset shard every image of every sample.

    Of two members of one name the last counts, as in any tar. Raises `SteerAnomalyError` for a tar that is damaged,
    also in its middle.
    """
    shard = next(at([url]))
    store, inside = store_of(url)
    found: dict[str, Entry] = {}
    try:
        with store.open(inside, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile() and is_image_name(PurePosixPath(member.name).name):
                    found[member.name] = _entry(member, shard)
            file.seek(tar.offset)  # a header that is damaged looks like an end
            if file.read(BLOCK).strip(b"\0"):
                raise tarfile.ReadError(f"no member begins at byte {tar.offset}, and it does not end there")
    except (tarfile.TarError, OSError) as error:
        raise SteerAnomalyError(f"expected a tar of images, {url} cannot be read as one: {error}") from error
    yield from found.values()


def read_member(entry: Entry) -> bytes:
    """The bytes of a member: where they begin is known from the list, and otherwise looked for.

    Raises `SteerAnomalyError` where the tar is not the one that was listed, `KeyError` for no such member, `OSError`.
    """
    name, shard = entry.path.removeprefix(SCHEME).rsplit("::", 1)
    store, inside = store_of(shard)
    if entry.offset is not None and entry.size is not None:
        if _version(shard) != entry.version:
            raise SteerAnomalyError(
                "its tar was changed after it was listed; list it again, into another table"
            )
        begin, end = entry.offset, entry.offset + entry.size
        return patiently(lambda: store.cat_file(inside, start=begin, end=end))
    with store.open(inside, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        member = tar.extractfile(name)
        return member.read() if member is not None else b""


def _entry(member: tarfile.TarInfo, shard: Entry) -> Entry:
    try:
        taken = datetime.fromtimestamp(member.mtime, UTC) if member.mtime else shard.taken
    except (ValueError, OverflowError, OSError):  # a year that is none
        taken = shard.taken
    path = f"{SCHEME}{as_text(member.name)}::{shard.path}"
    return Entry(path, shard.version, member.size, taken, member.offset_data)


def _version(shard: str) -> str:
    return _asked(shard, int(time.monotonic() / BELIEVED)) if is_url(shard) else next(at([shard])).version


@lru_cache(64)
def _asked(shard: str, period: int) -> str:
    return next(at([shard])).version
