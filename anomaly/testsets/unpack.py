"""Unpacks a downloaded tar or zip, trusting nothing in it: no path leaves the folder, no links, no devices.

Files go to a folder beside the target first and move in only when all are there.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from anomaly.errors import SteerAnomalyError

Progress = Callable[[str], None]


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpacks `archive` into `folder`, replacing files of the same names. `progress` gets each member's name.

    Raises `SteerAnomalyError` when it is no readable archive, or when a member's name leads out of the folder
    or is a link or a device; `folder` is then untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        _extract(archive, staging, progress or (lambda name: None))
        _move_into(staging, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise SteerAnomalyError(
            f"{archive}: cannot unpack it ({error}). Delete the archive and fetch it again, or free disk space"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _extract(archive: Path, staging: Path, progress: Progress) -> None:
    if zipfile.is_zipfile(archive):
        _extract_zip(archive, staging, progress)
    else:
        _extract_tar(archive, staging, progress)


def _extract_tar(archive: Path, staging: Path, progress: Progress) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise SteerAnomalyError(
            "this Python unpacks tar files unsafely; update it to 3.10.12, 3.11.4 or later"
        )
    with tarfile.open(archive) as tar:
        for member in tar:
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise SteerAnomalyError(_refused(archive, member.name, "is a link or a device"))
            progress(member.name)
            tar.extract(member, staging, filter="data")


def _extract_zip(archive: Path, staging: Path, progress: Progress) -> None:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            _check_name(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise SteerAnomalyError(_refused(archive, member.filename, "is a link or a device"))
            progress(member.filename)
            bundle.extract(member, staging)


def _check_name(archive: Path, name: str) -> None:
    windows = PureWindowsPath(name)
    absolute = PurePosixPath(name).is_absolute() or windows.drive or windows.root
    if absolute or ".." in windows.parts or "\0" in name:
        raise SteerAnomalyError(_refused(archive, name, "leads out of the folder it is unpacked to"))


def _refused(archive: Path, name: str, why: str) -> str:
    return f"{archive}: its member {name!r} {why}; nothing was unpacked. Do not use this archive"


def _move_into(staging: Path, folder: Path) -> None:
    for source in sorted(staging.rglob("*")):
        target = folder / source.relative_to(staging)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            source.replace(target)
