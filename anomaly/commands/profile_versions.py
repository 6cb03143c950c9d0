"""`steer-anomaly profile history` and `back`: the versions that a service kept of a profile."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("path", type=FILE, metavar="PROFILE")
def history(path: Path) -> None:
    """List the versions of a profile, with the reason of each."""
    from anomaly.line.versions import Versions

    versions = Versions(path)
    current = versions.current()
    for one in versions.all():
        mark = "  <- judges" if one.number == current.number else ""
        click.echo(f"{one.number:>4}  {one.made}  {one.reason}{mark}")


@click.command()
@click.argument("path", type=FILE, metavar="PROFILE")
@click.option("--to", "number", type=int, metavar="N", help="Which version.  [default: the one before]")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept with the new version.")
def back(path: Path, number: int | None, reason: str) -> None:
    """Let an earlier version of a profile judge again, as a new version; a running service notices."""
    from anomaly.line.versions import Versions

    made = Versions(path).back(number, reason)
    click.echo(f"{path}: version {made.number}, {made.reason}")
