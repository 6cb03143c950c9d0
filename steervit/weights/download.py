"""Brings one file of a hub repository into the Hugging Face cache, resumed and checked. Knows no models."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steervit.files import sha256_of
from steervit.weights.catalogue import HubFile

SHA256 = re.compile(r"[0-9a-f]{64}")


class HubError(ValueError):
    """A download that failed or is not what was published; the message says what to do."""


class UnreachableError(HubError):
    """The hub cannot be asked: offline mode, no network, a proxy in the way."""


class AbsentError(HubError):
    """The hub answered that it has no such file, revision or repository, or not for the public."""


@dataclass(frozen=True)
class Hub:
    """A hub and a cache. `endpoint` None is `HF_ENDPOINT`, or else huggingface.co."""

    cache_dir: Path
    endpoint: str | None = None

    def cached(self, file: HubFile) -> Path | None:
        """Where `file` lies in the cache, without asking the hub; None when it does not."""
        from huggingface_hub import try_to_load_from_cache

        for revision in (file.revision, None):  # the pinned commit, else what `--revision main` fetched
            path = try_to_load_from_cache(file.repo, file.file, cache_dir=self.cache_dir, revision=revision)
            if isinstance(path, str):
                return Path(path)
        return None

    def fetch(self, file: HubFile) -> Path:
        """The path of `file` in the cache, downloaded when it is not there, its size and hash checked.

        Raises `UnreachableError`, `AbsentError`, or `HubError` for a file that is not the published one.
        """
        if (path := self.cached(file)) is not None:
            check(path, file, path.resolve().name)
            return path
        path, etag = self._download(file)
        check(path, file, etag)
        return path

    def _download(self, file: HubFile) -> tuple[Path, str]:
        from huggingface_hub import errors, hf_hub_download

        try:
            announced = self._announced(file)
            if SHA256.fullmatch(announced.etag or "") and announced.size:
                self._fill_cache(file, announced)
            path = hf_hub_download(
                file.repo,
                file.file,
                revision=file.revision,
                cache_dir=self.cache_dir,
                endpoint=self.endpoint,
            )
            return Path(path), announced.etag
        except HubError:
            raise
        except errors.LocalEntryNotFoundError as error:
            raise UnreachableError(_in_short(error)) from error
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError):
            raise AbsentError(
                f"the hub has no {file.file} in {file.repo} at revision {file.revision or 'main'}, "
                "or it is not public: try `--revision main`, or update steer-anomaly"
            ) from None
        # Without a connection the hub's client raises its own errors, or those of requests or httpx.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
                raise HubError(f"{error.filename} could not be written ({error.strerror})") from error
            raise UnreachableError(_in_short(error)) from error

    def _announced(self, file: HubFile) -> Any:
        from huggingface_hub import get_hf_file_metadata

        announced = get_hf_file_metadata(self._url(file))
        if file.bytes is not None and announced.size != file.bytes:
            raise HubError(
                f"{file.file} of {file.repo} should have {file.bytes:,} bytes, but the hub offers "
                f"{announced.size or 0:,}: it was changed there; update steer-anomaly"
            )
        return announced

    def _url(self, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(file.repo, file.file, revision=file.revision, endpoint=self.endpoint)

    def _fill_cache(self, file: HubFile, announced: Any) -> None:
        """Download the blob of `file`, going on where an earlier attempt stopped, even in another process.

        The hub's own client drops a partial file when it is interrupted; here some have 1.4 GB.
        """
        from filelock import FileLock
        from huggingface_hub.file_download import http_get, repo_folder_name
        from huggingface_hub.utils import build_hf_headers

        blobs = self.cache_dir / repo_folder_name(repo_id=file.repo, repo_type="model") / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        blob, partial = blobs / announced.etag, blobs / f"{announced.etag}.partial"
        with FileLock(f"{partial}.lock"):
            if blob.exists():
                return
            with partial.open("ab") as stream:
                _check_space(blobs, announced.size - stream.tell(), file)
                http_get(
                    self._url(file),
                    stream,
                    resume_size=stream.tell(),
                    headers=build_hf_headers(),
                    expected_size=announced.size,
                    displayed_filename=file.file,
                )
            _keep_if_right(partial, blob, file)


def check(path: Path, file: HubFile, etag: str) -> None:
    """Raise `HubError` unless the file at `path` has the size and SHA-256 that `file` lists.

    Where none is listed, the hub's `etag` is used if it is a SHA-256, as it is for large files.
    """
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        raise HubError(f"{path} should have {file.bytes:,} bytes, it has {size:,}: delete it and pull again")
    expected = file.sha256 or (etag if SHA256.fullmatch(etag) else None)
    if expected is not None and (got := sha256_of(path)) != expected:
        raise HubError(
            f"{path} is not the published {file.file}: expected SHA-256 {expected}, got {got}; "
            "it was not used and is left as it is: delete it and pull again"
        )


def _keep_if_right(partial: Path, blob: Path, file: HubFile) -> None:
    got = sha256_of(partial)
    if got == blob.name and file.sha256 in (None, got):
        partial.replace(blob)
        return
    rejected = partial.with_suffix(".rejected")
    partial.replace(rejected)  # out of the way, so that the next pull starts afresh
    raise HubError(
        f"what came for {file.file} of {file.repo} is not the published file: expected SHA-256 "
        f"{file.sha256 or blob.name}, got {got}; it was not used and lies at {rejected}: pull again, and if "
        "it happens twice, the file was changed on its way or at its source; do not use it"
    )


def _check_space(folder: Path, needed: int, file: HubFile) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HubError(
            f"{file.file} needs {needed / 1e6:,.0f} MB more, {folder} has {free / 1e6:,.0f} MB free: "
            "make room or set HF_HUB_CACHE to another disk"
        )


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
