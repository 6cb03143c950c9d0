"""Writes a profile as one file and reads it back: safetensors, with JSON and its checksum in the metadata.

Reading runs nothing that is in the file and believes nothing: what was not written here, as a whole, is refused. The
checksum finds damage and edits; it is no signature, for whoever can compute it can forge it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from anomaly.decision.calibration import Calibration
from anomaly.decision.gate import Gate, Look
from anomaly.decision.profile import DTYPES, Profile, Provenance
from anomaly.decision.promise import Promise, Scoring
from anomaly.errors import SteerAnomalyError
from anomaly.regions import Least
from steervit.files import write_whole

FORMAT, VERSION = "steer-anomaly profile", 2
KEYS = {
    "format", "version", "object", "model", "hashes", "prompts", "settings", "settings_hash", "calibration",
    "promise", "gate", "looks", "provenance", "least",
}  # fmt: skip
# Absolute, home and parent folders of any system, and addresses. "org/name" and "and/or" are none.
PATH = re.compile(r"^(/|~|\\|[A-Za-z]:[\\/]|\.{1,2}[\\/])|[\\/]\.\.([\\/]|$)|^\.\.$|://")
LONGEST = 2000  # characters of a text


class ProfileError(SteerAnomalyError):
    """A file that is not a profile this version can trust; the message says why and what to do."""


def save(profile: Profile, path: Path) -> None:
    """Write `path` whole or not at all. Raises `ProfileError` for texts that reading would refuse, or `OSError`."""
    content = _content(profile)
    _check_texts(content, path)
    text = json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False)
    arrays = {name: np.ascontiguousarray(array) for name, array in profile.references.items()}
    metadata = {"profile": text, "checksum": _checksum(text, arrays)}
    write_whole(path, lambda temporary: save_file(arrays, temporary, metadata))


def load(path: Path) -> Profile:
    """Read a profile. Raises `ProfileError` for any file that `save` of this version did not write as it is."""
    metadata, arrays = _read(path)
    text = metadata["profile"]
    content = _parsed(text, path)
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        raise ProfileError(
            f"{path}: expected a profile of version {VERSION}, got version {content.get('version')!r}; use the "
            "steer-anomaly that wrote it, or calibrate again with this one"
        )
    if _checksum(text, arrays) != metadata["checksum"]:
        raise ProfileError(
            f"{path}: its content does not match its checksum: it was edited by hand or damaged. Use an untouched "
            "copy; to change something calibrate again, or use `steer-anomaly profile merge` or `extend`"
        )
    _check_keys("profile", content, KEYS, path)
    try:
        _check_texts(content, path)
        return _profile(content, arrays)
    except ProfileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ProfileError(f"{path}: not a profile as it should be: {error}. Calibrate again") from error


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):  # any length may begin so
            raise ProfileError(
                f"{path}: expected a profile, got a pickle or an archive, which could run code; it was not opened. Ask "
                "for the .profile that `steer-anomaly calibrate` wrote"
            )
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SteerAnomalyError):
            raise
        raise ProfileError(
            f"{path}: expected a profile, got a file that cannot be read as one ({error}): it is missing, truncated or "
            "of another kind. Copy it again, or calibrate again"
        ) from error
    _check_keys("file", metadata, {"profile", "checksum"}, path)
    if wrong := [name for name, array in arrays.items() if array.dtype.name not in DTYPES]:
        raise ProfileError(
            f"{path}: expected references of {', '.join(DTYPES)}, got {wrong[0]} of another type"
        )
    return metadata, arrays


def _parsed(text: str, path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} in place of a number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a key that is there twice")
        return dict(pairs)

    def exact(digits: str) -> int:
        return int(digits) if len(digits) < 17 else refuse(digits[:20])

    def finite(digits: str) -> float:
        return number if math.isfinite(number := float(digits)) else refuse(digits)

    try:
        content = json.loads(
            text, parse_constant=refuse, parse_float=finite, parse_int=exact, object_pairs_hook=once
        )
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path}: expected JSON of a profile, got {error}; calibrate again") from error
    return content


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256, in hex, of the JSON and of every array's name, type, shape and values (little endian)."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _content(profile: Profile) -> dict[str, Any]:
    promise = profile.promise
    return {
        "format": FORMAT,
        "version": VERSION,
        "object": profile.object,
        "model": profile.model,
        "hashes": dict(profile.hashes),
        "prompts": list(profile.prompts),
        "settings": dict(profile.settings),
        "settings_hash": profile.settings_hash,
        "calibration": asdict(profile.calibration),
        "promise": {"rank": promise.rank, "confidence": promise.confidence, "target": promise.target,
                    "bound": promise.bound, "threshold": profile.threshold, "mask_level": profile.mask_level},
        "gate": None if profile.gate is None else profile.gate.to_dict(),
        "looks": [asdict(seen) for seen in profile.looks],
        "provenance": asdict(profile.provenance),
        "least": asdict(profile.least),
    }  # fmt: skip


def _profile(content: dict[str, Any], arrays: dict[str, np.ndarray]) -> Profile:
    stated, found = content["promise"], dict(content["calibration"])
    scoring = Scoring(**found.pop("scoring"))
    columns: dict[str, Any] = {name: _numbers(column) for name, column in found.items()}
    if any(type(part) is not int for part in columns["parts"] or ()):
        raise ValueError("parts that are not whole numbers")
    calibration = Calibration(**columns, scoring=scoring)
    promise = Promise(calibration.n, stated["rank"], stated["confidence"], scoring, stated["target"])
    pictures: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["provenance"].items()
    }
    profile = Profile(
        object=content["object"],
        model=content["model"],
        hashes=content["hashes"],
        prompts=tuple(content["prompts"]),
        settings=content["settings"],
        settings_hash=content["settings_hash"],
        calibration=calibration,
        promise=promise,
        provenance=Provenance(**pictures),
        looks=tuple(_look(seen) for seen in content["looks"]),
        gate=None if content["gate"] is None else Gate.from_dict(content["gate"]),
        references=arrays,
        least=Least(**content["least"]),
    )
    origin = profile.provenance
    texts = [profile.object, profile.model, profile.settings_hash, origin.created, origin.tool_version]
    texts += profile.prompts
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("something else in place of a text")
    _check_same(content, _content(profile))
    return profile


def _check_same(stated: dict[str, Any], again: dict[str, Any]) -> None:
    """What was read has to be what would be written: nothing more, nothing converted, thresholds as given."""
    bounds = [part["promise"].pop("bound") for part in (stated, again)]
    if bounds[0] != bounds[1] and not math.isclose(*bounds, rel_tol=1e-6):  # as another SciPy may round it
        raise ValueError(f"a bound of {bounds[0]} where its scores give {bounds[1]}")
    again = json.loads(json.dumps(again))
    if wrong := [name for name in again if stated[name] != again[name]]:
        raise ValueError(f"values that do not follow from each other in {', '.join(wrong)}")


def _look(seen: dict[str, Any]) -> Look:
    _numbers(value for name, value in seen.items() if name != "distance" or value is not None)
    return Look(**seen)


def _numbers(column: Any) -> tuple[float, ...] | None:
    column = None if column is None else tuple(column)
    if column is not None and not all(type(value) in (int, float) for value in column):
        raise ValueError("a list of numbers that holds something else")
    return column


def _check_keys(what: str, content: Mapping[str, Any], expected: set[str], path: Path) -> None:
    unknown, missing = sorted(set(content) - expected), sorted(expected - set(content))
    if unknown or missing:
        raise ProfileError(
            f"{path}: expected the {what} to hold {', '.join(sorted(expected))}; unknown: "
            f"{', '.join(unknown) or 'none'}, missing: {', '.join(missing) or 'none'}. Use a file that `steer-anomaly "
            "calibrate` wrote"
        )


def _check_texts(value: Any, path: Path) -> None:
    """Refuse paths, placeholders other than `{object}` and control characters, in every text however deep."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_texts(item, path)
    if isinstance(value, str) and (wrong := _wrong_in(value)):
        raise ProfileError(
            f"{path}: expected plain texts, got {wrong} in {value[:60]!r}; a profile holds no paths and no code. Give "
            "the model by its name, and prompts with {object} as their only placeholder"
        )


def _wrong_in(text: str) -> str | None:
    if PATH.search(text):
        return "a path"
    if re.search(r"[{}]", text.replace("{object}", "")):
        return "a placeholder"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return "a control character"
    return "a text that is too long" if len(text) > LONGEST else None
