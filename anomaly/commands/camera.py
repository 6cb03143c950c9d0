"""`steer-anomaly camera`: frames of a camera are judged when a part is there."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
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
    warn,
)

if TYPE_CHECKING:
    import threading

    from anomaly.line.frames import Frame, Frames, Trigger
    from anomaly.line.station import Station

files, asked_for = in_section("Input and output"), in_section("Which frames")


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Examples:
  steer-anomaly camera 0 --trigger key --collect good/ --count 30
  steer-anomaly calibrate --object bottle good/ --out bottle.profile
  steer-anomaly camera 0 --trigger motion --profile bottle.profile

SOURCE is a camera's number, an rtsp:// or http:// address, `genicam` (or genicam:SERIAL), or a video file.
Ctrl-C and SIGTERM finish the picture at hand and exit with 0.""",
)
@click.argument("source")
@asked_for(
    "--trigger",
    type=click.Choice(["every", "motion", "key", "http"]),
    default="every",
    show_default=True,
    help="every frame; when what moved has come to rest; Enter; POST /trigger, which answers with the verdict.",
)
@asked_for(
    "--interval", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="With every: one in so long."
)
@asked_for(
    "--motion",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="Of the pixels, what changes when something moves.",
)
@asked_for(
    "--trigger-port",
    type=click.IntRange(0, 65_535),
    default=8321,
    show_default=True,
    help="For http, on 127.0.0.1.",
)
@asked_for(
    "--queue",
    type=click.IntRange(1),
    metavar="N",
    help="Frames that may wait; then the oldest is dropped and counted.  [default: 1 with every, else 8]",
)
@asked_for("--count", type=click.IntRange(1), metavar="N", help="Stop after so many pictures.")
@files(
    "--collect",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Judge nothing: save pictures to calibrate on.",
)
@files(
    "--cti",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="GenTL producer.",
)
@files(
    "--photos",
    type=click.Choice(["all", "defects", "none"]),
    default="all",
    show_default=True,
    help="Which photographs stay in OUT/photos; defects: all that are not ok.",
)
@line_options
@click.pass_context
def camera(
    context: click.Context,
    source: str,
    trigger: str,
    interval: float,
    motion: float,
    trigger_port: int,
    queue: int | None,
    count: int | None,
    collect: Path | None,
    cti: Path | None,
    photos: str,
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
    """Judge what a camera sees, when a part is there.

    Newest frame wins: a live source is never behind. What is judged is kept as a JPEG in OUT/photos, and what a crash
    left there unjudged is judged first.
    """
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.frames import Frames, source_of
    from anomaly.line.watching import stopping

    opened, live = source_of(source, cti)
    if not live and trigger in ("key", "http"):
        raise SteerAnomalyError(
            f"expected a camera for --trigger {trigger}: a video file has no now; try every or motion"
        )
    if collect is not None and (profile or sinks):
        raise SteerAnomalyError("expected no --profile and no --sink beside --collect, which judges nothing")
    root = Path(os.path.abspath(out)) / "photos"  # noqa: PTH100  links keep the names their user gave them
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        station = None
        if collect is None:
            asked = Asked(profile, root.parent, save, quiet, sinks, keep_days, keep_bytes)
            inspector, part = line_inspector(context, profile, part, no_gate, options)
            station = stack.enter_context(open_station(inspector, part, asked, root, "camera", patience=0.0))
            _judge_what_was_left(station, stop, root, photos, quiet)
        asks = _trigger(stack, trigger, interval, motion / 100, trigger_port)
        frames = stack.enter_context(
            Frames(opened, asks, live, queue or (1 if trigger == "every" else 8), warn)
        )
        parts = trigger != "every"
        taken = _take_all(frames, station, stop, collect or root, photos, quiet, count, parts)
    kept = (
        f"pictures in {collect}"
        if station is None
        else f"pictures judged; report: {root.parent / 'report.html'}"
    )
    click.echo(f"{frames.seen} frames, {taken} {kept}; {frames.dropped} frames dropped")
    if station is not None and not stop.is_set():
        sys.exit(exit_code(station))


def _trigger(stack: ExitStack, kind: str, interval: float, share: float, port: int) -> Trigger:
    from anomaly.errors import SteerAnomalyError
    from anomaly.line.triggers import Every, Http, Key, Motion

    if kind == "every":
        return Every(interval)
    if kind == "motion":
        return Motion(share)
    if kind == "key":
        click.echo("Enter takes a picture, Ctrl-D ends", err=True)
        return Key(sys.stdin)
    try:
        trigger = Http(port)
    except OSError as error:
        raise SteerAnomalyError(
            f"cannot listen on port {port}: {error.strerror}; give another --trigger-port"
        ) from error
    stack.callback(trigger.close)
    click.echo(f"POST http://127.0.0.1:{trigger.port}/trigger takes a picture", err=True)
    return trigger


def _note_what_was_missed(frames: Frames, station: Station, root: Path, quiet: bool) -> None:
    """Where a trigger says that each frame is a part, one that was dropped is a part that nobody judged."""
    from anomaly.line.photographs import path_of

    for frame in frames.missed():
        row = station.miss(
            path_of(root, frame), "dropped: parts came faster than they can be judged (--queue)"
        )
        if not quiet:
            show(row, root)


def _judge_what_was_left(
    station: Station, stop: threading.Event, root: Path, photos: str, quiet: bool
) -> None:
    from anomaly.line.photographs import left_over

    left = [one for one in left_over(root) if not station.has(one.path, one.stamp)]
    for one in left:
        if not stop.is_set():
            _judge(station, one, root, photos, quiet)


def _take_all(
    frames: Frames,
    station: Station | None,
    stop: threading.Event,
    root: Path,
    photos: str,
    quiet: bool,
    count: int | None,
    parts: bool,
) -> int:
    """Take frames until there are no more, enough, or somebody says stop; how many.

    `parts` says that each frame is a part, so that none may be dropped in silence.
    """
    from anomaly.line.photographs import save_frame
    from anomaly.runs.saving import explained

    taken, idle = 0, keeping_up(station) if station else (lambda: None)
    while not (stop.is_set() or frames.ended or taken == count):
        frame = frames.take(0.2)
        if station is not None and parts:
            _note_what_was_missed(frames, station, root, quiet)
        if frame is None:
            idle()
            continue
        with explained("a photograph", root, None):
            arrival = save_frame(root, frame)
        taken += 1
        if station is None:
            _answer(frame, {"file": arrival.path.name})
            if not quiet:
                click.echo(arrival.path)
        else:
            _answer(frame, _judge(station, arrival, root, photos, quiet))
    if station is not None and parts:
        _note_what_was_missed(frames, station, root, quiet)
    return taken


def _judge(station: Station, arrival: Any, root: Path, photos: str, quiet: bool) -> dict[str, Any]:
    for one, row in station.judge([arrival]):
        assert row is not None  # nobody else writes these files
        if photos == "none" or (photos == "defects" and row.verdict == "ok"):
            one.path.unlink(missing_ok=True)
        if not quiet:
            show(row, root)
        return {
            "verdict": row.verdict,
            "score": row.score,
            "p_value": row.p_value,
            "regions": len(row.regions),
            "error": row.error,
            "file": os.path.relpath(row.file, root),
        }
    raise AssertionError("a picture is judged once")


def _answer(frame: Frame, content: dict[str, Any]) -> None:
    for answer in frame.answers:
        answer.set_result(content)
