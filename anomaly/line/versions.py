"""The versions of a profile: every change is a new one with its reason, and going back is a change too.

`NAME.profile` is the one that judges; `versions/NAME/0003.profile` and `.json` are what it was and why. A file that was
changed by others, such as by `calibrate`, becomes a version when it is looked at. Knows no models and no pictures.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from anomaly.decision import profile_file
from anomaly.decision.profile import Profile
from anomaly.errors import SteerAnomalyError
from steervit.files import sha256_of, write_whole

SUFFIX = ".profile"
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,62}[A-Za-z0-9_-])?")
LONGEST_REASON = 300  # characters


@dataclass(frozen=True)
class Version:
    """One version: its number from 1, when (ISO 8601, UTC) and why it was made, and the SHA-256 of its file."""

    number: int
    made: str
    reason: str
    sha256: str


class Versions:
    """The versions of the profile at `path`, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent / "versions" / path.stem

    def all(self) -> list[Version]:
        """Every version, oldest first."""
        found = []
        for file in sorted(self.folder.glob("[0-9]*.json")):
            try:
                found.append(Version(**json.loads(file.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError) as error:
                raise SteerAnomalyError(
                    f"expected a version of a profile as this tool writes it, {file} is none ({error}); move it away"
                ) from error
        return sorted(found, key=lambda one: one.number)

    def current(self) -> Version:
        """The version that judges; a file that is none yet becomes one. Raises `SteerAnomalyError` without a file."""
        if not self.path.is_file():
            raise SteerAnomalyError(f"expected a profile at {self.path}, there is none; calibrate one")
        digest, known = sha256_of(self.path), self.all()
        for one in reversed(known):
            if one.sha256 == digest:
                return one
        profile_file.load(self.path)  # a damaged one is no version
        reason = "as it was found" if not known else "changed outside of the service"
        return self._keep(self.path.read_bytes(), reason)

    def load(self, number: int) -> Profile:
        """One version. Raises `SteerAnomalyError` for a number that there is not."""
        self._known(number)
        return profile_file.load(self._file(number))

    def add(self, profile: Profile, reason: str) -> Version:
        """Make `profile` the one that judges. Raises as `profile_file.save`."""
        if self.path.is_file():
            self.current()  # what was changed by others is kept, too
        made: list[Version] = []

        def write(temporary: Path) -> None:
            profile_file.save(profile, temporary)
            made.append(self._keep(temporary.read_bytes(), reason))

        write_whole(self.path, write)
        return made[0]

    def back(self, number: int | None = None, reason: str = "") -> Version:
        """Let version `number`, by default the one before, judge again, as a new version; a broken file is replaced.

        Raises `SteerAnomalyError` for a number that there is not.
        """
        number = self._before() if number is None else number
        self._known(number)
        profile_file.load(self._file(number))
        content = self._file(number).read_bytes()
        made = self._keep(content, f"back to version {number}{f': {reason}' if reason else ''}")
        write_whole(self.path, content)
        return made

    def _before(self) -> int:
        """The last version before the one that judges and unlike it; the last of all where a broken file lies there."""
        digest, number = None, None
        if self.path.is_file():
            with suppress(profile_file.ProfileError):
                current = self.current()
                digest, number = current.sha256, current.number
        earlier = [one.number for one in self.all() if one.sha256 != digest]
        earlier = [one for one in earlier if number is None or one < number]
        if not earlier:
            raise SteerAnomalyError(f"expected a version before that of {self.path.name}, there is none")
        return earlier[-1]

    def _keep(self, content: bytes, reason: str) -> Version:
        number = max((one.number for one in self.all()), default=0) + 1
        write_whole(self._file(number), content)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        version = Version(
            number, made, " ".join(reason.split())[:LONGEST_REASON], sha256_of(self._file(number))
        )
        write_whole(self._file(number).with_suffix(".json"), json.dumps(asdict(version), indent=2) + "\n")
        return version

    def _known(self, number: int) -> None:
        numbers = [one.number for one in self.all()]
        if number not in numbers:
            shown = f"1 to {max(numbers)}" if numbers else "none yet"
            raise SteerAnomalyError(f"expected a version of {self.path.stem} ({shown}), got {number}")

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:04d}{SUFFIX}"


def is_name(name: str) -> bool:
    """Whether a profile may be called so: letters, digits, blanks, `_`, `-` and `.` within, 64 at most; no path."""
    return NAME.fullmatch(name) is not None and ".." not in name


def versions_of(folder: Path, name: str) -> Versions:
    """The versions of the profile `name` in `folder`. Raises `SteerAnomalyError` for what is no name."""
    if not is_name(name):
        raise SteerAnomalyError(
            "expected a profile's name of letters, digits, blanks, - and _, 64 at most, got another one; choose "
            "such as 'left flange'"
        )
    return Versions(folder / f"{name}{SUFFIX}")
