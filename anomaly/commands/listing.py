"""`--json` of every command that lists something: the same entries, for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click


def json_option(command: Callable) -> Callable:
    """Add `--json` to a command; it is passed on as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="As JSON: a list with an object per entry.")(
        command
    )


def show_json(entries: list[dict[str, Any]]) -> None:
    """Print `entries`, readable and in their order."""
    click.echo(json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False))
