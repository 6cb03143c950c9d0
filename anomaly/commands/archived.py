"""What is asked of an archive beside making its table: an estimate beforehand, the worst of it, and other verdicts."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.extras import need
from anomaly.commands.profiles import read_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anomaly.archive.entry import Entry
    from anomaly.archive.examining import Examiner
    from anomaly.inspector import Inspector


@contextmanager
def progress_bar(quiet: bool, what: str, total: int | None) -> Iterator[Any]:
    """A bar of images; without a total, the function that moves it."""
    from tqdm import tqdm

    with tqdm(total=total, unit="image", desc=what, disable=quiet, leave=total is not None) as bar:
        yield bar.update if total is None else bar


def tell_estimate(
    inputs: tuple[str, ...],
    column: str | None,
    inspector: Inspector,
    part: str,
    bank: int,
    workers: int | None,
    price: float | None,
    quiet: bool,
) -> None:
    """What `--dry-run` prints."""
    from anomaly import threads
    from anomaly.archive import estimate
    from anomaly.archive.entries import entries_of
    from anomaly.archive.examining import examiner_of

    with progress_bar(quiet, "listing", None) as tick:
        drawn, images, size = estimate.sampled(entries_of(inputs, column), tick=tick)
    examiner = (
        _tried(inspector, part, drawn, bank) if inspector.mutual else examiner_of(lambda: inspector, part)
    )
    found = estimate.measured(drawn, images, size, examiner)
    click.echo(f"{images} images, {size / 1e9:.3g} GB; nothing was written")
    click.echo(
        f"{found.tried} tried: {found.seconds * 1000:.0f} ms an image and worker (reading alone "
        f"{found.reading * 1000:.0f} ms, meanwhile), {found.failed} without a result"
    )
    here = workers or threads.available()
    for count in sorted({1, here, 10 * here, 100 * here}):
        cost = "" if price is None else f", {found.hours(1) * price:.2f} in all"
        click.echo(f"{count:6} workers: {_lasting(found.hours(count))}{cost}")


def _tried(inspector: Inspector, part: str, drawn: list[Entry], bank: int) -> Examiner:
    """Beside a bank of the images that were drawn, repeated to its size: what comparing takes hangs on that alone."""
    from dataclasses import replace

    from anomaly.archive import bank as banks
    from anomaly.archive.examining import Examiner, one_thread

    one_thread()
    few = banks.make(drawn, inspector, part)
    contents = tuple(f"{number:064x}" for number in range(bank))
    patches = tuple(few.patches[number % len(few.patches)] for number in range(bank))
    return Examiner(
        banks.BesideBank(inspector, replace(few, contents=contents, patches=patches), part), part, ""
    )


def _lasting(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.1f} minutes"


@click.command()
@click.argument("table")
@click.option(
    "--out", type=click.Path(path_type=Path), default="steer-anomaly-worst", show_default=True, metavar="DIR"
)
@click.option("--worst", type=click.IntRange(1), default=200, show_default=True, help="How many images.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def report(table: str, out: Path, worst: int, quiet: bool) -> None:
    """An HTML report of the worst images of TABLE; only these are fetched again."""
    need("archive", "archive report")
    from anomaly.archive import worst as worst_of
    from anomaly.archive.places import Place

    with progress_bar(quiet, "images", worst) as bar:
        page, count, missing = worst_of.report(Place(table), out, worst, bar.update)
    for line in missing:
        click.echo(f"not shown: {line}", err=True)
    click.echo(f"the worst {count} images, {len(missing)} of them without a picture")
    click.echo(f"report: {page.resolve()}")


def judge_table(
    url: str,
    profile: Path | None,
    threshold: float | None,
    rate: float | None,
    confidence: float | None,
    best_effort: bool,
    gate: bool,
) -> None:
    """What `steer-anomaly judge TABLE` prints: what another threshold, or a profile's, would change. Writes nothing.

    Raises `SteerAnomalyError` where there is nothing to judge by.
    """  # fmt: skip
    from anomaly.archive.places import Place
    from anomaly.archive.rejudging import changes
    from anomaly.archive.table import read_run
    from anomaly.decision.threshold import with_given
    from anomaly.decision.verdict import Judge, judge_of, standing_of
    from anomaly.errors import SteerAnomalyError
    from anomaly.runs.judging import check_scored_alike
    from anomaly.settings import InspectionSettings

    place = Place(url)
    run = read_run(place)
    known = None if profile is None else read_profile(profile)
    if known is not None:
        check_scored_alike(run["settings"], known.settings_hash)
        if rate or confidence:
            known = known.at(rate or known.promise.target, confidence, best_effort=best_effort)
    judge = judge_of(known, gate) if known else Judge()
    if threshold is not None:
        settings = InspectionSettings.from_run(run["settings"])
        judge = Judge(with_given(judge.point, threshold, None, settings), known, judge.gate)
    if judge.point is None or (known is None and (rate or confidence)):
        raise SteerAnomalyError(
            "expected something to judge by: give --threshold, or --profile with --false-alarms"
        )
    found = changes(place, judge)
    click.echo(standing_of(judge))
    click.echo(f"{found.images} images, {found.changed} of them otherwise than in the table:")
    for (was, now), count in sorted(found.verdicts.items()):
        click.echo(f"  {was:8} -> {now:8} {count}")
    click.echo("defects by month, in the table and now:")
    for month, (before, after) in sorted(found.months.items()):
        click.echo(f"  {month}  {before:8} {after:8}")
    click.echo("nothing was written")
