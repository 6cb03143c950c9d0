"""What images an input holds: a folder, a glob, a list, a table of paths, tar shards; here or behind a URL.

Opens no image. Inputs are gone through one after the other and never held as a whole.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from anomaly.archive import path_tables, tars
from anomaly.archive.entry import Entry, local, remote
from anomaly.archive.places import is_url, patiently, store_of
from anomaly.errors import SteerAnomalyError
from anomaly.pictures.inputs import collect, images_below
from anomaly.pictures.suffixes import is_image_name

TABLES, TARS = (".parquet", ".csv"), (".tar",)


def entries_of(inputs: Iterable[str], column: str | None = None) -> Iterator[Entry]:
    """The images of `inputs`, in the order of their listing; the same image may come twice.

    `column` names the column of paths of a table. Raises `SteerAnomalyError` for an input that is none.
    """
    for text in inputs:
        try:
            yield from _of_one(text, column)
        except OSError as error:
            raise SteerAnomalyError(f"cannot list {text}: {error}") from error


def may_repeat(inputs: Iterable[str]) -> bool:
    """Whether an image may be listed twice: in a table or a list, and where there are several inputs."""
    inputs = list(inputs)
    return len(inputs) > 1 or any(
        one.lower().endswith((*TABLES, ".txt")) or (glob.has_magic(one) and not is_image_name(one))
        for one in inputs
    )


def _of_one(text: str, column: str | None) -> Iterator[Entry]:
    suffix = PurePosixPath(text).suffix.lower()
    if glob.has_magic(text) and not Path(text).exists():
        if is_url(text):
            yield from _of_pattern(text, column)
        elif suffix in (*TABLES, *TARS):
            for match in sorted(glob.glob(text, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
                yield from _of_one(match, column)
        else:
            yield from (local(str(path)) for path in collect([text]))
    elif suffix in TABLES:
        yield from path_tables.images_of(text, column)
    elif suffix in TARS:
        yield from tars.members(text)
    elif text.lower().endswith((".tar.gz", ".tgz", ".tar.zst")):
        raise SteerAnomalyError(
            f"expected a plain tar, whose members can be read one by one, got {text}: unpack it"
        )
    elif is_url(text):
        yield from _behind(text)
    elif Path(text).is_dir():
        for path in images_below(Path(text)):
            yield local(str(path))
        for tar in sorted(Path(text).glob("*.tar")):
            yield from tars.members(str(tar))
    else:
        yield from (local(str(path)) for path in collect([text]))


def _of_pattern(pattern: str, column: str | None) -> Iterator[Entry]:
    """What matches behind a URL: images, tables, tars, and what is in folders, unless `**` goes into them anyway."""
    store, inside = store_of(pattern)
    found = patiently(lambda: store.glob(inside, detail=True))
    if not found:
        raise SteerAnomalyError(f"expected images, tables or tars, nothing matches {pattern}")
    for name in sorted(found):
        url = store.unstrip_protocol(name)
        if found[name]["type"] == "directory":
            if "**" not in pattern:
                yield from _behind(url)
        elif url.lower().endswith((*TABLES, *TARS)):
            yield from _of_one(url, column)
        elif is_image_name(PurePosixPath(url).name):
            yield remote(store, found[name])


def _behind(url: str) -> Iterator[Entry]:
    """The images below a URL, folder by folder."""
    store, root = store_of(url)
    if is_image_name(PurePosixPath(url).name) and patiently(lambda: store.isfile(root)):
        yield remote(store, patiently(lambda: store.info(root)))
        return
    found = False
    for folder in _walked(store, root):
        found = found or bool(folder)
        for name in sorted(folder):
            if is_image_name(name):
                yield remote(store, folder[name])
        for name in sorted(folder):
            if name.lower().endswith(TARS):
                yield from tars.members(store.unstrip_protocol(folder[name]["name"]))
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
