"""Reads pictures and fields out of a request, multipart or raw, all in memory. Decodes nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from anomaly.line.limits import Refusal

LONGEST_NAME, LONGEST_FIELD = 120, 2_000
MOST_FIELDS = 16


class _InMemory(MultiPartParser):
    """Bodies are limited before they are parsed, so no file goes to the disk meanwhile."""

    spool_max_size = 1 << 30


@dataclass(frozen=True)
class Upload:
    """`files` are (name, bytes) in the order in which they came, `fields` everything else, query parameters too."""

    files: list[tuple[str | None, bytes]]
    fields: dict[str, str] = field(default_factory=dict)


async def read_upload(request: Request, most: int) -> Upload:
    """At most `most` pictures. Raises `Refusal` for more, for none, and for what is neither multipart nor raw."""
    fields = {name: value[:LONGEST_FIELD] for name, value in request.query_params.items()}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        files = await _multipart(request, most, fields)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        files = [(cleaned(fields.get("name")), await request.body())]
    else:
        raise Refusal(
            415, "unknown-kind", "expected multipart/form-data with a field `image`, or a picture as the body with its "
            f"content-type image/..., got {kind[:40]!r}",
        )  # fmt: skip
    if not files or not all(data for _, data in files):
        raise Refusal(400, "no-picture", "expected a picture in the field `image`, got none or an empty one")
    return Upload(files, fields)


async def _multipart(request: Request, most: int, fields: dict[str, str]) -> list[tuple[str | None, bytes]]:
    parser = _InMemory(
        request.headers, request.stream(), max_files=most, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(
            400, "broken-form", f"expected multipart/form-data with at most {most} pictures and a few short fields: "
            f"{error.message}",
        ) from error  # fmt: skip
    files: list[tuple[str | None, bytes]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
            elif name == "image":
                files.append((cleaned(value.filename), await value.read()))
    finally:
        await form.close()
    return files


def cleaned(name: Any) -> str | None:
    """A file's name as it may be shown: its last part, without control characters, not too long."""
    if not isinstance(name, str):
        return None
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return shown.strip()[:LONGEST_NAME] or None
