"""`steer-anomaly watch`: pictures that arrive in a folder are judged as they come."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.sections import SectionedCommand, in_section
from anomaly.commands.stations import (
    Asked,
    exit_code,
    keeping_up,
    line_inspector,
    line_options,
    open_station,
    show,
)

if TYPE_CHECKING:
    from anomaly.line.station import Station

files, after = in_section("Input and output"), in_section("After a verdict")


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Example:
  steer-anomaly calibrate --object bottle good/ --out bottle.profile
  steer-anomaly watch camera/ --profile bottle.profile --sort --sink csv:verdicts.csv

Ctrl-C and SIGTERM finish the picture at hand and exit with 0; the same command goes on. docs/line.md has sinks,
services and containers.""",
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@files("--once", is_flag=True, help="Judge what is there and stop: for tests and timers.")
@files(
    "--poll",
    type=click.FloatRange(min=0.05),
    metavar="SECONDS",
    help="Look so often, for network shares, whose changes no one announces.",
)
@files(
    "--settle",
    type=click.FloatRange(0.02, 60),
    default=0.2,
    show_default=True,
    metavar="SECONDS",
    help="A file is whole when its size and time have stood still for so long.",
)
@after(
    "--sort",
    is_flag=True,
    help="Move judged pictures to ok/, defect/ and unfit/ in DIR; none is overwritten.",
)
@after(
    "--forget-sorted",
    is_flag=True,
    help="--keep-days and --keep-bytes delete sorted photographs, too.",
)
@line_options
@click.pass_context
def watch(
    context: click.Context,
    folder: Path,
    once: bool,
    poll: float | None,
    settle: float,
    sort: bool,
    forget_sorted: bool,
    part: str | None,
    no_gate: bool,
    profile: Path | None,
    out: str,
    save: str,
    quiet: bool,
    sinks: tuple[str, ...],
    keep_days: float | None,
    keep_bytes: int | None,
    **options: Any,
) -> None:
    """Judge the pictures that arrive in a folder, in their order, until it is stopped.

    DIR is searched to any depth. What arrived while nobody watched is judged first; whatever stops the run, no
    picture is lost or judged twice.
    """
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.sorting import Sorter
    from anomaly.line.watching import stopping

    if not (once or poll) and find_spec("watchfiles") is None:
        raise SteerAnomalyError(
            "watching needs watchfiles, which a plain installation leaves out: pip install 'steer-anomaly[line]', "
            "or give --poll 1"
        )
    if forget_sorted and not (sort and (keep_days or keep_bytes)):
        raise SteerAnomalyError("expected --sort and --keep-days or --keep-bytes beside --forget-sorted")
    asked = Asked(profile, Path(out), save, quiet, sinks, keep_days, keep_bytes)
    root = Path(os.path.abspath(folder))  # noqa: PTH100  links keep the names their user gave them
    inspector, part = line_inspector(context, profile, part, no_gate, options)
    sorter = Sorter(root) if sort else None
    forget = sorter.folders if sorter and forget_sorted else ()
    with (
        stopping() as stop,
        open_station(inspector, part, asked, root, "watch", forget, sorter=sorter) as station,
    ):
        _watch(station, stop, root, asked, once, poll, settle, sorter.folders if sorter else ())
        counts, ended = station.folder.counts(), exit_code(station)
    named = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "none"
    click.echo(
        f"{sum(counts.values())} images judged: {named}; report: {asked.out.resolve() / 'report.html'}"
    )
    sys.exit(ended if once else 0)


def _watch(
    station: Station,
    stop: Any,
    root: Path,
    asked: Asked,
    once: bool,
    poll: float | None,
    settle: float,
    sorted_to: tuple[Path, ...],
) -> None:
    from anomaly.line.arrivals import Arrivals
    from anomaly.line.watching import watch_folder

    arrivals = Arrivals(root, station.has, [asked.out, *sorted_to], settle)
    if not (asked.quiet or once):
        click.echo(f"watching {root}; Ctrl-C ends", err=True)
    watch_folder(
        arrivals,
        station,
        stop,
        lambda row: None if asked.quiet else show(row, root),
        once=once,
        poll=poll,
        idle=keeping_up(station),
    )
