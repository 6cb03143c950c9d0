"""Turns what was typed on the command line into a list of image paths, and each path into an output name.

Knows file names only: nothing is opened but text lists, so an image that cannot be read is found later.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from anomaly.errors import SteerAnomalyError
from anomaly.pictures.suffixes import IMAGE_SUFFIXES, is_image_name

_RESULT_FILES = ("run.json", "results.jsonl")


def collect(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The images named by `inputs`, in a stable order and without duplicates.

    An input is a file; a folder, searched recursively in alphabetical order; a glob such as `'img/**/*.png'`;
    or a text list, a `.txt` file with one path per line, relative to the list, where empty lines and lines
    starting with `#` are passed over. Folders and globs skip hidden files and our own result folders. Paths
    come back as they were typed. A file named outright is taken whatever its extension, and the entries of a
    list need not exist: the one who reads them says so, image by image.

    Raises `SteerAnomalyError` when an input does not exist or no image is found at all.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        for path in _expand(os.fspath(text)):
            found.setdefault(_absolute(path), path)
    if not found:
        named = ", ".join(os.fspath(i) for i in inputs) or "nothing"
        raise SteerAnomalyError(
            f"expected images, found none in: {named}. Looked for files ending in {' '.join(IMAGE_SUFFIXES)} "
            "(in folders also below them; hidden files and earlier result folders are skipped)"
        )
    return list(found.values())


def input_roots(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The folders that `inputs` start from, as `relative_name` wants them.

    A folder is its own root, a file's root is the folder it lies in, a glob's the part before the first
    wildcard, a list's the folders of its entries.
    """
    roots = [_absolute(root) for text in inputs for root in _roots_of(os.fspath(text))]
    return list(dict.fromkeys(roots))


def relative_name(path: str | os.PathLike[str], roots: Iterable[Path]) -> str:
    """The path of an image below what all `roots` have in common, without its extension, with `/` between.

    `img/good/007.png` found through the folder `img` is `good/007`: two images of one name in different
    folders get different names. Only two that differ in nothing but the extension share one; `ResultFolder`
    tells these apart. An image outside the roots keeps its whole path.
    """
    absolute = _absolute(path)
    parts = absolute.with_name(absolute.stem).parts
    root = _common_folder(roots)
    if root is not None and root in absolute.parents:
        parts = parts[len(root.parts) :]
    else:
        parts = (absolute.drive.rstrip(":").strip("\\/"), *parts[1:]) if absolute.drive else parts[1:]
    return str(PurePosixPath(*parts))


def _common_folder(roots: Iterable[Path]) -> Path | None:
    try:
        return Path(os.path.commonpath([_absolute(root) for root in roots]))
    except ValueError:  # no roots at all, or on two drives of Windows
        return None


def _expand(text: str) -> Iterator[Path]:
    path = Path(text)
    if path.is_dir():
        yield from images_below(path)
    elif path.exists():
        yield from _read_list(path) if path.suffix.lower() == ".txt" else [path]
    elif glob.has_magic(text):
        yield from _match(text)
    else:
        raise SteerAnomalyError(
            f"expected a file, a folder, a glob or a text list, but there is no {text!r} "
            f"(seen from {Path.cwd()})"
        )


def images_below(folder: Path) -> Iterator[Path]:
    """The images below a folder, in alphabetical order; links are followed, hidden files and our results are skipped.

    Raises `SteerAnomalyError` for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise SteerAnomalyError(f"cannot list the folder {error.filename}: {error.strerror}") from error

    seen: set[str] = set()  # real paths, so that a link to a parent folder does not go round for ever
    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(here)
        if real in seen or _is_result_folder(Path(here)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(files) if is_image_name(name))


def _match(pattern: str) -> Iterator[Path]:
    root = _roots_of(pattern)[0]
    results: dict[Path, bool] = {}
    for text in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
        path = Path(text)
        below = [parent for parent in path.parents if root in parent.parents]
        for parent in below:
            if parent not in results:
                results[parent] = _is_result_folder(parent)
        if any(results[parent] for parent in below):
            continue
        if path.is_file() and is_image_name(path.name):
            yield path
        elif path.is_dir() and "**" not in pattern:  # with ** the files below come as matches of their own
            yield from images_below(path)


def _read_list(path: Path) -> Iterator[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SteerAnomalyError(
            f"expected {path} to be a text list (UTF-8, one image path per line), "
            f"but it cannot be read: {error}"
        ) from error
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            entry = path.parent / line
            yield from images_below(entry) if entry.is_dir() else [entry]


def _roots_of(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return [path]
    if not path.exists() and glob.has_magic(text):
        steady = [part for part in path.parts[: _first_wildcard(path)] if part]
        return [Path(*steady)]
    if path.suffix.lower() == ".txt" and path.exists():
        return [entry.parent for entry in _read_list(path)]
    return [path.parent]


def _first_wildcard(path: Path) -> int:
    return next(i for i, part in enumerate(path.parts) if glob.has_magic(part))


def _absolute(path: str | os.PathLike[str]) -> Path:
    # Not Path.resolve(): two links to one file are two inputs, with the names their user gave them.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _is_result_folder(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _RESULT_FILES)
