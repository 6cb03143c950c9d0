"""Fetches an archive: pooch keeps, checks and places it; the resuming, which pooch does not do, is here.

Knows nothing of what is in it; `anomaly.testsets.unpack` does the rest.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from anomaly.errors import SteerAnomalyError

CHUNK = 1 << 20
TIMEOUT_S = 60
Progress = Callable[[int, int | None], None]


def download(url: str, target: Path, sha256: str | None, progress: Progress | None = None) -> Path:
    """Fetches `url` to the file `target`; what an interrupted run left in `<target>.part` is continued.

    `progress(done, total)` is called with bytes; total is None when the server does not tell. With `sha256`
    None the file is taken as it comes. Raises `SteerAnomalyError` when the server cannot be reached, the
    transfer stops early (the part stays for the next run), or the hash differs (the file is removed).
    """
    import pooch

    def resumed(url: str, output_file: Any, _: Any) -> None:
        part = target.with_name(target.name + ".part")
        try:
            _fetch(url, part, progress or (lambda done, total: None))
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise SteerAnomalyError(_stopped(url, part, error)) from error
        part.replace(output_file)
        _tag_file(part).unlink(missing_ok=True)

    pooch.get_logger().setLevel("WARNING")  # the command line says itself what it fetches
    known = f"sha256:{sha256}" if sha256 else None
    try:
        pooch.retrieve(url, known, target.name, target.parent, downloader=resumed)
    except SteerAnomalyError:
        raise
    except OSError as error:
        raise SteerAnomalyError(
            f"{target} cannot be written ({error}): free some space and run it again"
        ) from error
    except ValueError as error:
        raise SteerAnomalyError(
            f"{url}: {error} It was damaged on the way or has been changed: run the command again, and if it "
            "fails again fetch the file by hand and compare"
        ) from error
    return target


def _fetch(url: str, part: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.is_file() else 0
    try:
        with urllib.request.urlopen(_request(url, part, have), timeout=TIMEOUT_S) as response:
            start = have if _continues(response, have) else 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            _tag_file(part).write_text(response.headers.get("ETag") or "", encoding="utf-8")
            _write(response, part, start, total, progress)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing after what we have
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
            part.unlink()  # longer than the file on the server: of no use
            _fetch(url, part, progress)


def _request(url: str, part: Path, have: int) -> urllib.request.Request:
    request = urllib.request.Request(url, headers={"User-Agent": "steer-anomaly"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        tag = _tag_file(part).read_text(encoding="utf-8") if _tag_file(part).is_file() else ""
        if tag and not tag.startswith("W/"):
            request.add_header("If-Range", tag)  # another file by now: the server then sends all of it
    return request


def _continues(response: Any, have: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return response.status == 206 and content_range.startswith(f"bytes {have}-")


def _write(response: IO[bytes], part: Path, done: int, total: int | None, progress: Progress) -> None:
    with part.open("r+b" if part.is_file() else "wb") as file:
        file.truncate(done)
        file.seek(done)
        progress(done, total)
        while block := response.read(CHUNK):
            file.write(block)
            done += len(block)
            progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _stopped(url: str, part: Path, error: Exception) -> str:
    have = part.stat().st_size if part.is_file() else 0
    reason = getattr(error, "reason", None) or error
    kept = (
        f"{have:,} bytes are kept in {part}; run the command again to go on"
        if have
        else "nothing was written"
    )
    return f"{url}: the download stopped ({reason}). {kept[0].upper()}{kept[1:]}"
