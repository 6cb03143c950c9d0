"""`steer-anomaly archive`: millions of images in, one Parquet table out; and a report of the worst of a table."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands.archived import progress_bar, report, tell_estimate
from anomaly.commands.extras import need
from anomaly.commands.inspect import run_info
from anomaly.commands.options import (
    gate_option,
    inspection_options,
    make_inspector,
    object_option,
    profile_option,
    size_options,
)
from anomaly.commands.profiles import profiled_inspector, read_profile, typed
from anomaly.commands.sections import SectionedCommand, in_section

if TYPE_CHECKING:
    from collections.abc import Callable

    from anomaly.archive.archiving import Archive
    from anomaly.archive.examining import Examiner
    from anomaly.archive.local_engine import Progress
    from anomaly.archive.places import Place
    from anomaly.inspector import Inspector

files, engines = in_section("Input and output"), in_section("Engine")
asked, verdict = in_section("What to look for"), in_section("Verdict")
MAKE = "make"
FIXED_HERE = ("batch_size", "threads")  # options of an inspection that an archive has no use for


class Share(click.ParamType):
    """A number of images, or a share of all of them: 100, 0.5%."""

    name = "N|P%"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, bool]:
        """The number, and whether it is a share (0..1)."""
        text = str(value)
        try:
            number, share = float(text.removesuffix("%")), text.endswith("%")
        except ValueError:
            self.fail(f"expected a number such as 100 or 0.5%, got {text!r}", param, ctx)
        if not math.isfinite(number) or number < 0 or (share and number > 100):
            self.fail(f"expected 0 or more images, or 0% to 100%, got {text!r}", param, ctx)
        return (number / 100 if share else number), share


class Archives(click.Group):
    """`archive INPUTS` is `archive make INPUTS`; only the names of its commands are no inputs."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        if args and args[0] not in self.commands:
            args = [MAKE, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            args = [MAKE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=Archives)
def archive() -> None:
    """Go through an archive of millions of images; one table comes out.

    `steer-anomaly archive INPUTS... --out TABLE` is short for `archive make`.
    """


archive.add_command(report)


@archive.command(
    MAKE,
    cls=SectionedCommand,
    epilog="""\b
Examples:
  steer-anomaly archive photos/ --object bottle --out bottles-table
  steer-anomaly archive s3://plant/2026/ --profile bottle.profile --out s3://plant/table --engine ray --address auto

\b
Exit codes: 130 interrupted, 70 error of the program, 2 wrong usage or settings,
3 images without a result (with --max-errors: more than that), 0 done.""",
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@object_option
@profile_option
@files("--out", metavar="TABLE", help="Folder or URL of the table.  [required but for --dry-run]")
@files("--column", metavar="NAME", help="Column of paths, where an input is a table (Parquet or CSV).")
@files(
    "--max-errors",
    type=Share(),
    help="Stop with 3 above so many images without a result, 0 up to it.  [default: go on; 3 for any]",
)
@files(
    "--retry-errors",
    is_flag=True,
    help="Do the images again that have no result.",
)
@files(
    "--format",
    "table_format",
    type=click.Choice(["parquet", "lance"]),
    default="parquet",
    show_default=True,
    help="lance: Lance datasets as well, images.lance and errors.lance in TABLE; of a finished table, too.",
)
@asked(
    "--bank",
    type=click.IntRange(8, 2000),
    default=100,
    show_default=True,
    metavar="N",
    help="With --mutual on: images drawn once, spread over the archive's time, that each is compared with.",
)
@asked("--seed", type=int, default=0, show_default=True, help="Of that draw.")
@files("--quiet", is_flag=True, help="No progress bar.")
@engines(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="local: the cores of this machine. ray: Ray Data, here or on a cluster.",
)
@engines("--address", metavar="auto|ray://...", help="The Ray cluster.  [default: one that is started here]")
@engines(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Processes, a model each.  [default: the cores there are]",
)
@engines(
    "--chapter",
    type=click.IntRange(1024),
    default=1_048_576,
    show_default=True,
    metavar="N",
    help="Images that are checked and closed at a time; more for many workers.",
)
@engines(
    "--dry-run", is_flag=True, help="Count, try 32 images, and say how long all would take; writes nothing."
)
@engines("--price", type=click.FloatRange(0), metavar="COST", help="With --dry-run: of a worker's hour.")
@inspection_options
@size_options
@gate_option
@click.pass_context
def make(
    context: click.Context,
    inputs: tuple[str, ...],
    part: str | None,
    profile: Path | None,
    no_gate: bool,
    out: str | None,
    column: str | None,
    max_errors: tuple[float, bool] | None,
    retry_errors: bool,
    table_format: str,
    quiet: bool,
    engine: str,
    address: str | None,
    workers: int | None,
    chapter: int,
    dry_run: bool,
    bank: int,
    seed: int,
    price: float | None,
    **options: Any,
) -> None:
    """Inspect every image of an archive once, and write a table of them.

    INPUTS are folders, globs, URLs (s3://, gs://, abfs://), tables of paths (.parquet, .csv) or tar files of images.
    Run the same command again and it continues where it stopped.
    """  # fmt: skip
    need("archive", "archive")
    if engine == "ray":
        need("ray", "--engine ray")
    if table_format == "lance":
        need("lance", "--format lance")
    elif out is not None and out.rstrip("/").endswith(".lance"):
        raise click.UsageError(
            f"expected a folder for the table, got {out}: give --format lance for Lance datasets, which are made in it"
        )
    if profile is None and part is None:
        raise click.UsageError("Missing option '--object' (or '--profile').")
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'.")
    options |= {"batch_size": 1, "threads": 1}
    inspector, maker = _inspector(context, profile, not no_gate, options)
    if inspector.mutual:
        from anomaly.archive.bank import said_to

        inspector, maker = said_to(inspector, bank, seed), partial(_beside, maker, bank, seed)
    known = inspector.judge.profile
    part = known.object if known else part or ""
    if dry_run:
        tell_estimate(inputs, column, inspector, part, bank, workers, price, quiet)
        return
    from anomaly.archive.archiving import counted, opened
    from anomaly.archive.examining import examiner_of
    from anomaly.archive.local_engine import TooManyErrors
    from anomaly.archive.places import Place

    place = Place(str(out))
    on_cpu, mutual = str(inspector.device).startswith("cpu"), inspector.mutual
    try:
        with opened(place, inputs, column, run_info(inspector, part), engine, chapter) as opened_archive:
            if retry_errors:
                _retry(place, engine)
            if mutual:
                _draw_bank(opened_archive, inspector, part, bank, seed)
            del inspector  # the workers have their own
            examiner = partial(examiner_of, maker, part, place if mutual else None)
            counts = _run(opened_archive, examiner, on_cpu, engine, address, workers, max_errors, quiet)
            if table_format == "lance":
                _copy_to_lance(opened_archive, quiet)
            opened_archive.finish(counts)
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; what was done is in {out}: run the same command again to continue", err=True
        )
        sys.exit(exit_codes.INTERRUPTED)
    except TooManyErrors as error:
        click.echo(str(error), err=True)
        sys.exit(exit_codes.FAILED_IMAGES)
    click.echo(opened_archive.run["note"])
    click.echo(f"{sum(counts.values())} images: {counted(counts)}")
    click.echo(f"table: {place.url}")
    failed = counts["failed"] + counts["unreadable"]
    sys.exit(exit_codes.FAILED_IMAGES if failed and max_errors is None else exit_codes.OK)


# An archive's images go one by one, in processes of one thread, and are compared with a bank when asked for.
make.params = [one for one in make.params if one.name not in FIXED_HERE]
for _option in make.params:
    if isinstance(_option, click.Option) and _option.name == "mutual":
        _option.help = "on: compare each image with those of a bank; auto is off here."


def _inspector(
    context: click.Context, profile: Path | None, gate: bool, options: dict[str, Any]
) -> tuple[Inspector, Callable[[], Inspector]]:
    """The inspector that the options describe, and how another process makes the same."""
    if profile is None:
        maker: Callable[[], Inspector] = partial(make_inspector, pictures=0, **options)
        return maker(), maker
    from anomaly.inspector import Inspector

    inspector = profiled_inspector(context, profile, gate, options)
    if inspector.mutual:
        from anomaly.errors import SteerAnomalyError

        raise SteerAnomalyError(
            "expected a profile of pictures judged alone or beside references, got one of pictures compared in "
            "batches, which an archive has none of: calibrate again with --references"
        )
    model = options["model"] if typed(context, "model") else None
    places = {name: options[name] for name in ("trunk", "text_encoder", "device")}
    return inspector, partial(Inspector.from_profile, read_profile(profile), model=model, gate=gate, **places)


def _retry(place: Place, engine: str) -> None:
    from anomaly.archive.places import told
    from anomaly.archive.retrying import reopen

    with told(place, "the table"):
        images = reopen(place, engine)
    click.echo(f"{images} images without a result are done again", err=True)


def _copy_to_lance(archive: Archive, quiet: bool) -> None:
    from anomaly.archive import lance_copy
    from anomaly.archive.places import told

    with (
        progress_bar(quiet, "lance", archive.manifest.images) as bar,
        told(archive.place, "the Lance datasets"),
    ):
        rows = lance_copy.copy(archive.place, archive.manifest, bar.update)
    for kind, count in rows.items():
        click.echo(f"{archive.place.full(lance_copy.name_of(kind))}: {count} rows", err=True)


def _beside(maker: Callable[[], Inspector], size: int, seed: int) -> Inspector:
    from anomaly.archive.bank import said_to

    return said_to(maker(), size, seed)


def _draw_bank(archive: Archive, inspector: Inspector, part: str, size: int, seed: int) -> None:
    """Once: a run that goes on compares with the same images."""
    from anomaly.archive import bank as banks
    from anomaly.archive.places import told

    with told(archive.place, "the bank of images"):
        if banks.load(archive.place) is None:
            drawn = banks.draw(archive.place, archive.manifest, size, seed)
            banks.save(archive.place, banks.make(drawn, inspector, part))


def _run(
    archive: Archive,
    examiner: Callable[[], Examiner],
    on_cpu: bool,
    engine: str,
    address: str | None,
    workers: int | None,
    max_errors: tuple[float, bool] | None,
    quiet: bool,
) -> Counter[str]:
    from anomaly import threads
    from anomaly.archive import local_engine

    place, manifest = archive.place, archive.manifest
    most = None if max_errors is None else max_errors[0] * (manifest.images if max_errors[1] else 1)
    with progress_bar(quiet, "images", manifest.images) as bar:
        tell = partial(_tell, bar)
        if engine == "ray":
            from anomaly.archive import ray_engine

            return ray_engine.run(place, manifest, examiner, workers, address, on_cpu, most, tell)
        forked = sys.platform == "linux" and on_cpu
        count = workers or (threads.available() if on_cpu else 1)
        say = partial(bar.write, file=sys.stderr)
        return local_engine.run(place, manifest, examiner, count, most, tell, forked, say)


def _tell(bar: Any, progress: Progress) -> None:
    """The bar says images/s of this run and the time left; failures are of all."""
    if bar.disable:
        return
    if bar.initial == 0 and bar.n == 0 and progress.done:
        bar.initial = bar.n = bar.last_print_n = progress.done
        bar.start_t = bar.last_print_t = time.time()
    bar.set_postfix_str(f"{progress.failed} failed" if progress.failed else "", refresh=False)
    bar.update(progress.done - bar.n)
