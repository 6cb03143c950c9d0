"""What a bundle holds, as `bundle.json` lists it: read and checked before anything in the folder is used.

Nothing in a bundle is code of Python, and no pickle is ever opened. The checksums find damage and edits; they are no
signature, for whoever can compute them can forge them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from anomaly.errors import SteerAnomalyError
from steervit.files import sha256_of, write_whole

FILE = "bundle.json"
FORMAT, VERSION = "steer-anomaly bundle", 1
RUNTIMES = ("onnx", "openvino", "torch")
PRECISIONS = ("fp32", "bf16", "int8")


class BundleError(SteerAnomalyError):
    """A folder that is no bundle which this version can trust; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle but the numbers in its graphs.

    `object` is the part as the prompts have it, `settings` those of `InspectionSettings`, `texts` the prompts that
    are folded into the graphs. `graphs` maps what a graph is for to its file, `files` every file to its SHA-256.
    `point` is a threshold as `OperatingPoint` has it, None with a profile (the file `profile`) or where there is none;
    `references` is the file of described good pictures. `parity` is what was compared with the original.
    """

    object: str
    runtime: str
    precision: str
    settings: Mapping[str, Any]
    texts: tuple[str, ...]
    prompt_set: str
    description: str
    model: Mapping[str, Any]
    grid_size: tuple[int, int]
    graphs: Mapping[str, str]
    files: Mapping[str, str]
    created: str
    tool_version: str
    versions: Mapping[str, str]
    point: Mapping[str, Any] | None = None
    why_unjudged: str = ""
    profile: str | None = None
    references: str | None = None
    parity: Mapping[str, Any] | None = None
    notice: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in px of a tile."""
        height, width = self.settings["image_size"]
        return height, width

    @property
    def digest(self) -> str:
        """Tells this bundle from another: SHA-256 in hex of all that is said of it, and so of its files."""
        return _checksum(self._content())

    def save(self, folder: Path) -> None:
        """Write `bundle.json`, whole or not at all."""
        content = self._content()
        text = json.dumps(
            content | {"checksum": _checksum(content)}, indent=1, sort_keys=True, allow_nan=False
        )
        write_whole(folder / FILE, text + "\n")

    def _content(self) -> dict[str, Any]:
        return json.loads(json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}))


def is_bundle(path: Any) -> bool:
    """Whether `path` is a folder that says it is a bundle; it may be a damaged one."""
    return isinstance(path, str | Path) and (Path(path).expanduser() / FILE).is_file()


def read(folder: Path) -> Manifest:
    """The manifest of the bundle in `folder`, every file of which is there and as it was written.

    Raises `BundleError` for a bundle of another version, truncated or edited files, files that lie outside.
    """
    content = _parsed(folder / FILE)
    if content.get("format") != FORMAT:
        raise BundleError(f"{folder}: expected a bundle of steer-anomaly, its {FILE} is something else")
    if content.get("version") != VERSION:
        raise BundleError(
            f"{folder}: expected a bundle of version {VERSION}, got version {content.get('version')!r}: use the "
            "steer-anomaly that wrote it, or export again with this one"
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise BundleError(
            f"{folder}: {FILE} does not match its checksum: it was edited by hand or damaged. Copy the bundle again, "
            "or export again to change something"
        )
    try:
        manifest = _manifest(content)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder}: not a bundle as it should be ({error}): export again") from error
    _check_files(folder, manifest)
    return manifest


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
    except FileNotFoundError:
        raise BundleError(f"{path.parent}: expected a bundle, and there is no {FILE} in it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: expected the JSON of a bundle, got {str(error)[:80]}: it is truncated or of another kind; copy "
            "the bundle again"
        ) from error
    return content


def _manifest(content: dict[str, Any]) -> Manifest:
    known = {one.name for one in fields(Manifest)}
    if unknown := sorted(content.keys() - known - {"format", "version"}):
        raise ValueError(f"unknown keys {', '.join(unknown)}")
    values = {name: value for name, value in content.items() if name in known}
    for name in ("texts", "grid_size"):
        values[name] = tuple(values[name])
    manifest = Manifest(**values)
    for name, value, allowed in (
        ("runtime", manifest.runtime, RUNTIMES),
        ("precision", manifest.precision, PRECISIONS),
    ):
        if value not in allowed:
            raise ValueError(f"a {name} of {value!r}, expected one of {', '.join(allowed)}")
    named = [*manifest.graphs.values(), *filter(None, (manifest.profile, manifest.references))]
    if missing := [name for name in named if name not in manifest.files]:
        raise ValueError(f"no hash of {missing[0]}")
    return manifest


def _check_files(folder: Path, manifest: Manifest) -> None:
    inside = folder.resolve()
    for name, digest in manifest.files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise BundleError(f"{folder}: {name!r} leads out of the bundle; it was not opened. Export again")
        found = (folder / path).resolve()
        if not found.is_relative_to(inside):
            raise BundleError(
                f"{folder}: {name} is a link out of the bundle; it was not opened. Export again"
            )
        if not found.is_file():
            raise BundleError(f"{folder}: {name} is missing: copy the whole bundle again")
        if (got := sha256_of(found)) != digest:
            raise BundleError(
                f"{folder}: {name} is not as it was exported (SHA-256 {got[:12]}, expected {digest[:12]}): it is "
                "truncated or was changed; copy the bundle again, or export again"
            )


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hashed(folder: Path, keep: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """SHA-256 of every file below `folder` but `bundle.json`, by its path with slashes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: sha256_of(path) for name, path in names.items() if name != FILE and keep(name)}
