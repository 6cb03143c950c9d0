"""What `watch` and `camera` share: the options of a line that runs, and the station they describe."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands.inspect import NoVerdict, run_info
from anomaly.commands.options import (
    gate_option,
    inspection_options,
    make_inspector,
    profile_option,
    sink_option,
)
from anomaly.commands.profiles import profiled_inspector
from anomaly.commands.sections import in_section

if TYPE_CHECKING:
    from anomaly.inspector import Inspector
    from anomaly.line.outbox import Sinks
    from anomaly.line.station import Station
    from anomaly.runs.rows import ImageRow

files, after = in_section("Input and output"), in_section("After a verdict")
verdict = in_section("Verdict")
NOT_HERE = ("mutual", "batch_size")  # each part is judged as it comes
REPORT_EVERY = 60.0  # s
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class Size(click.ParamType):
    """A number of bytes: 500MB, 20G, 1000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes; a k is a thousand."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", str(value).strip().lower())
        if found is None:
            self.fail(f"expected a size such as 500MB or 20G, got {value!r}", param, ctx)
        return int(float(found[1]) * UNITS[found[2]])


_OPTIONS = (
    profile_option,
    files("--object", "part", metavar="NAME", help="Without a profile: what the part is called. Needs a threshold."),
    files("--out", default="steer-anomaly-out", show_default=True, metavar="DIR", help="Folder for the results."),
    files("--save", type=click.Choice(["all", "defects", "none"]), default="all", show_default=True,
          help="Of which images heatmap, mask and overlay are written."),
    files("--quiet", is_flag=True, help="No line per image."),
    sink_option(after),
    after("--keep-days", type=click.FloatRange(min=0, min_open=True), metavar="N",
          help="Delete maps and previews after so many days; never the journal."),
    after("--keep-bytes", type=Size(), metavar="SIZE", help="Delete the oldest maps and previews beyond this size."),
    gate_option,
)  # fmt: skip


def line_options(command: Callable) -> Callable:
    """Every option that the commands of a line share."""
    command = inspection_options(command)
    kept = [option for option in command.__click_params__ if option.name not in NOT_HERE]  # type: ignore[attr-defined]
    command.__click_params__ = kept  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Asked:
    """What was asked of a line, beside how to inspect."""

    profile: Path | None
    out: Path
    save: str
    quiet: bool
    sinks: tuple[str, ...]
    keep_days: float | None
    keep_bytes: int | None


def line_inspector(
    context: click.Context, profile: Path | None, part: str | None, no_gate: bool, options: dict[str, Any]
) -> tuple[Inspector, str]:
    """The inspector of a line, ready, and what the part is called.

    Raises `NoVerdict` where there would be none, `UsageError` where nothing says what the part is.
    """
    from anomaly.bundle.contents import is_bundle
    from anomaly.errors import SteerAnomalyError
    from anomaly.prompts import object_name

    options = options | {"mutual": "off", "batch_size": 1}
    if profile is None and part is None and not is_bundle(options["model"]):
        raise click.UsageError("Missing option '--profile' (or '--object' with its threshold).")
    if profile is not None:
        inspector = profiled_inspector(context, profile, not no_gate, options)
    else:
        inspector = make_inspector(pictures=0, **options)
        if no_gate:  # of a profile that a bundle has in it
            inspector.judge = replace(inspector.judge, gate=None)
    if inspector.mutual:
        raise NoVerdict(
            "this profile was calibrated for pictures that are compared with their batch, and on a line each part is "
            "judged when it comes: calibrate without --mutual"
        )
    if inspector.point is None:
        raise NoVerdict(f"a line needs verdicts: {inspector.why_unjudged}; give a profile, or --threshold")
    known, bundle = inspector.judge.profile, inspector.bundle
    if bundle is not None and part is not None and object_name(part) != bundle.manifest.object:
        raise SteerAnomalyError(
            f"expected the part that the bundle was exported for, {bundle.manifest.object!r}, got {part!r}: leave out "
            "--object, or export another bundle"
        )
    return inspector, known.object if known else part or (bundle.manifest.object if bundle else "")


@contextmanager
def open_station(
    inspector: Inspector,
    part: str,
    asked: Asked,
    root: Path,
    source: str,
    forget: tuple[Path, ...] = (),
    **more: Any,
) -> Iterator[Station]:
    """The station of a line: its result folder, sinks, drift and retention, all closed at the end.

    `more` goes to `Station`; `forget` are folders for retention beside those of the result folder.
    """
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.outbox import open_sinks
    from anomaly.line.retention import OURS, Forgetting, Limits
    from anomaly.line.station import Station
    from anomaly.runs.drift_log import Followed
    from anomaly.runs.folder import ResultFolder
    from anomaly.runs.judging import keep_profile
    from anomaly.runs.saving import OutputError

    profile, limits = inspector.judge.profile, Limits(asked.keep_days, asked.keep_bytes)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(ResultFolder(asked.out, run_info(inspector, part), save=asked.save))
        except OutputError as error:
            raise SteerAnomalyError(f"{error} (--out names the folder; each profile wants one)") from error
        if profile is not None:
            keep_profile(folder.path, profile)
        sinks = open_sinks(asked.sinks, asked.out, warn) if asked.sinks else None
        if sinks is not None:
            stack.callback(_tell_what_waits, sinks)
            stack.enter_context(sinks)
        inspector.prepare(part, last=True)
        station = Station(
            folder, inspector, part, root, source=source,
            profile=asked.profile.stem if asked.profile else None,
            followed=Followed(profile) if profile else None, sinks=sinks, warn=warn, **more,
        )  # fmt: skip
        if limits != Limits():
            forgetting = Forgetting([*(asked.out / name for name in OURS), *forget], limits)
            stack.callback(forgetting.close)
        stack.callback(station.keep_drift)
        yield station


def keeping_up(station: Station) -> Callable[[], None]:
    """To be called when there is nothing to do: keeps report and drift from getting old.

    Not more often than once a minute, and never for more than a fiftieth of the time.
    """
    due, shown = time.monotonic() + REPORT_EVERY, len(station.folder.rows)

    def keep() -> None:
        nonlocal due, shown
        began = time.monotonic()
        if began < due or len(station.folder.rows) == shown:
            return
        shown = len(station.folder.rows)
        station.keep_report()
        took = time.monotonic() - began
        due = began + max(REPORT_EVERY, 50 * took)

    return keep


def warn(sentence: str) -> None:
    """Something a person should look at."""
    click.echo(f"note: {printable(sentence)}", err=True)


def show(row: ImageRow, root: Path) -> None:
    """A line per image: when, what, how far from ordinary, which."""
    clock = datetime.now().astimezone().isoformat(timespec="seconds")
    standing = f"{row.spreads:+.1f} spreads" if row.spreads is not None else _score(row)
    line = f"{clock}  {row.verdict:<10}  {standing:>14}  {os.path.relpath(row.file, root)}"
    click.echo(printable(f"{line}  {row.error}" if row.error else line))


def printable(text: str) -> str:
    """Text as any terminal takes it, with ? for bytes of a file's name that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def exit_code(station: Station) -> int:
    """Of a line that ended by itself: as `inspect` without --fail-on-defect."""
    counts = station.folder.counts()
    if counts["unfit"]:
        return exit_codes.UNFIT
    if station.followed is not None and station.followed.drift.alarm:
        return exit_codes.DRIFT
    return exit_codes.FAILED_IMAGES if counts["unreadable"] + counts["failed"] else exit_codes.OK


def _tell_what_waits(sinks: Sinks) -> None:
    for one in sinks.status():
        if one["waiting"]:
            warn(
                f"{one['waiting']} verdicts wait for {one['sink']}: they go out when the same command runs again"
            )


def _score(row: ImageRow) -> str:
    return "" if row.score is None else f"{row.score:.4g}"
