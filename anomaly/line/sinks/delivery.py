"""What every sink is: it delivers a message or raises one of two errors. Knows no protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from anomaly.errors import SteerAnomalyError


class SinkDown(Exception):
    """Whoever should get the message is not there or not ready: to be tried again, after `wait` seconds if given."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class SinkRefused(Exception):
    """The message itself was refused: tried a few times more, then it is a dead letter."""


class Delivery(Protocol):
    """A sink. Called from one thread only.

    `newest_only`: what could not be delivered in time is of no use any more, such as a signal to a machine.
    """

    newest_only: bool

    def deliver(self, message: dict[str, Any]) -> None:
        """Deliver a message; it has been received when this returns. Raises `SinkDown`, `SinkRefused`."""

    def idle(self) -> None:
        """Called while there is nothing to deliver, now and then: to be found there. Raises `SinkDown`."""

    def close(self) -> None:
        """Let go of connections."""


def split(url: str) -> tuple[SplitResult, dict[str, str]]:
    """A sink's URL without the part after `#`, and the settings there (`#secret-file=FILE&...`).

    What stands after `#` is for us and never sent anywhere.
    """
    parts = urlsplit(url)
    return parts._replace(fragment=""), dict(parse_qsl(parts.fragment))


def secret_of(settings: dict[str, str]) -> str | None:
    """The one line in the file that `secret-file` names, None without it. Raises `SteerAnomalyError`."""
    name = settings.get("secret-file")
    if name is None:
        return None
    try:
        secret = Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SteerAnomalyError(
            f"expected a secret in the file {name}, but it cannot be read: {error}"
        ) from error
    if not secret:
        raise SteerAnomalyError(f"expected a secret in the file {name}, but it is empty")
    return secret


def without_password(url: str) -> str:
    """The URL as it may be shown and stored."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}@{host}").geturl() if ":" in user else url


def login_of(parts: SplitResult, settings: dict[str, str]) -> tuple[str | None, str | None]:
    """User and password of a URL; the password better from `#secret-file=FILE`, where no list of processes shows it."""
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else secret_of(settings)
    return user, password


def number_in(settings: dict[str, str], name: str, otherwise: int, most: int) -> int:
    """The whole number 0..`most` called `name`, `otherwise` where it is not given. Raises `SteerAnomalyError`."""
    text = settings.get(name, str(otherwise))
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise SteerAnomalyError(f"expected {name} from 0 to {most} in a sink's URL, got {text!r}")
    return int(text)
