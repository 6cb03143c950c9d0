"""Errors a user can mend. Each says what was expected, what came, and what to do next."""

from __future__ import annotations


class SteerAnomalyError(ValueError):
    """Bad input or settings; the message is meant for the user. The CLI prints it and exits with 2."""
