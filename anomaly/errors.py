"""Errors a user can mend. Each says what was expected, what came, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SteerAnomalyError(ValueError):
    """Bad input or settings; the message is meant for the user. The CLI prints it and exits with 2."""


class NotJudged(SteerAnomalyError):
    """One image could not be judged, and why; the others can go on. Never to be taken for "ok"."""


@contextmanager
def as_user_errors() -> Iterator[None]:
    """Turn what the model side raises about files, names, recipes and the network into errors the user is shown."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise SteerAnomalyError(str(error)) from error
