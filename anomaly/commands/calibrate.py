"""`steer-anomaly calibrate`: pictures of good parts in, a profile that `inspect --profile` judges by out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.options import inspection_options, make_inspector, size_options
from anomaly.commands.rates import Rate
from anomaly.commands.sections import SectionedCommand, in_section

if TYPE_CHECKING:
    from anomaly.decision.calibrating import Calibrated, Good
    from anomaly.decision.calibration import Choice
    from anomaly.inspector import Inspector

files, promise = in_section("Input and output"), in_section("Verdict")
NOT_HERE = ("threshold", "mask_threshold", "references", "mutual", "batch_size")
SHOWN = 8  # rows of the trade-off


class References(click.ParamType):
    """How many of the good parts are references: a number, none, or auto (None)."""

    name = "references"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """To a number of parts, 0 for none, None for auto."""
        if value in (None, "auto"):
            return None
        if value == "none":
            return 0
        if str(value).isdigit() and int(value) > 0:
            return int(value)
        self.fail(f"expected a number of references from 1, none or auto, got {value!r}", param, ctx)


def scoring_options(command: Callable) -> Callable:
    """The inspection options that decide a score."""
    command = inspection_options(size_options(command))
    kept = [option for option in command.__click_params__ if option.name not in NOT_HERE]  # type: ignore[attr-defined]
    command.__click_params__ = kept  # type: ignore[attr-defined]
    return command


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Example:
  steer-anomaly calibrate --object bottle good/ --false-alarms 5% --out bottle.profile
  steer-anomaly inspect --profile bottle.profile img/

docs/verdicts.md says what is promised and what not.""",
)
@click.argument("good", nargs=-1, required=True, metavar="GOOD...")
@files("--object", "part", required=True, metavar="NAME", help="What the part is called: bottle, metal nut.")
@files("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The profile to write.")
@files("--overwrite", is_flag=True, help="Replace the profile when it is there already.")
@files(
    "--defects",
    type=str,
    multiple=True,
    metavar="DIR",
    help="Pictures of defective parts: how many would be missed? The trade-off is drawn beside the profile.",
)
@files("--quiet", is_flag=True, help="No progress bar.")
@promise(
    "--false-alarms",
    type=Rate(),
    metavar="RATE",
    help="At most so many good parts called defective, such as 1%.  [default: as few as can be promised]",
)
@promise(
    "--confidence",
    type=Rate(),
    default="95%",
    show_default=True,
    metavar="RATE",
    help="How sure that promise is.",
)
@promise(
    "--references",
    type=References(),
    default="auto",
    show_default=True,
    metavar="N|none|auto",
    help="Good parts to compare with, apart from those that calibrate; auto: as many as can be spared, or else "
    "every part for both, which promises less.",
)
@promise(
    "--mutual", is_flag=True, help="Calibrate scores of pictures that are compared with their own batch."
)
@promise("--drop-outliers", is_flag=True, help="Leave out good pictures that are unlike all others.")
@promise("--best-effort", is_flag=True, help="Go on where the rate cannot be promised; the profile says so.")
@promise(
    "--seed",
    default=0,
    show_default=True,
    help="Which parts become references is drawn by it and their content.",
)
@scoring_options
def calibrate(
    good: tuple[str, ...],
    part: str,
    out: Path,
    overwrite: bool,
    defects: tuple[str, ...],
    quiet: bool,
    references: int | None,
    mutual: bool,
    **options: Any,
) -> None:
    """Learn from photographs of good parts what is normal, and promise a false-alarm rate.

    GOOD are images, folders, globs, or text files listing images; no defects needed. The profile then holds all that
    `inspect` needs: model, settings, references, threshold.
    """
    from anomaly.decision import profile_file
    from anomaly.decision.calibrating import Wish
    from anomaly.errors import SteerAnomalyError
    from anomaly.pictures.inputs import collect

    names = ("false_alarms", "confidence", "drop_outliers", "best_effort", "seed")
    wish = Wish(references=references, **{name: options.pop(name) for name in names})
    if mutual and references != 0:
        raise SteerAnomalyError(
            "expected --mutual together with --references none: compared with references a picture needs no batch"
        )
    if out.exists() and not overwrite:
        raise SteerAnomalyError(f"{out} is there already: pass --overwrite, or choose another --out")
    paths, flawed = collect(good), collect(defects) if defects else []
    compares = mutual or references != 0
    inspector = make_inspector(
        pictures=len(paths), mutual="on" if compares else "off", references=(), batch_size=1, threshold=None,
        mask_threshold=None, **options,
    )  # fmt: skip
    seen = observed(paths, inspector, part, quiet, "good")
    found = _calibrated(seen, inspector, wish)
    profile_file.save(found.profile, out)
    _say(found, out)
    if flawed:
        _say_misses(found, observed(flawed, inspector, part, quiet, "defective"), out)


def observed(paths: list[Path], inspector: Inspector, part: str, quiet: bool, kind: str) -> list[Good]:
    """What was seen of the pictures; those that cannot be read are named."""
    from tqdm import tqdm

    from anomaly.runs.good_pictures import good_pictures

    inspector.prepare(part)
    with tqdm(total=len(paths), unit="image", desc=kind, disable=quiet) as bar:
        seen, failed = good_pictures(paths, inspector, part, bar.update)
    for path, reason in failed.items():
        click.echo(f"{path}: {reason}", err=True)
    if failed:
        click.echo(
            f"{len(failed)} of {len(paths)} {kind} pictures could not be read and do not count", err=True
        )
    return seen


def _calibrated(seen: list[Good], inspector: Inspector, wish: Any) -> Calibrated:
    from anomaly.decision.calibrating import TwoKinds, calibrate
    from anomaly.errors import SteerAnomalyError

    try:
        return calibrate(seen, inspector, wish)
    except TwoKinds as error:
        raise SteerAnomalyError(f"{error}, or go on with --best-effort") from error


def _say(found: Calibrated, out: Path) -> None:
    profile = found.profile
    if found.outliers:
        what = (
            "left out"
            if found.dropped
            else "defects among the good? They count as good; --drop-outliers leaves them out"
        )
        click.echo(
            f"Look at {'this one' if len(found.outliers) == 1 else f'these {len(found.outliers)}'} ({what}):"
        )
        for name, times in found.outliers:
            click.echo(f"  {name}: {times:.1f} times as far from the others as is usual")
    if found.copies:
        click.echo(f"{found.copies} pictures are copies of another and do not count.")
    for remark in profile.calibration.remarks():
        click.echo(remark)
    kept = len(profile.provenance.references)
    click.echo(f"Threshold {profile.threshold:.4g}, {kept or 'no'} references. {profile.promise.sentence()}")
    click.echo(f"{out}: now run  steer-anomaly inspect --profile {out} IMAGES")


def _say_misses(found: Calibrated, seen: list[Good], out: Path) -> None:
    from anomaly.decision.calibrating import scores_of
    from anomaly.decision.calibration import choices, misses
    from anomaly.decision.promise import percent

    profile = found.profile
    if "batches" in profile.promise.scoring.kind:
        click.echo(
            "Misses are not measured for pictures compared with their batch: inspect a batch with defects in it."
        )
        return
    scores = scores_of(seen, found.inspector)
    click.echo(
        misses(profile.threshold, scores, profile.promise.confidence).sentence("defective pictures missed")
    )
    click.echo("  false alarms at most   threshold   defects missed (interval)")
    for choice in choices(profile.calibration, profile.promise.confidence, scores, SHOWN):
        assert choice.misses is not None
        mark = "  <- this profile" if choice.rank == profile.promise.rank else ""
        click.echo(
            f"  {percent(choice.bound):>20} {choice.threshold:>11.4g}   {percent(choice.misses.rate)} "
            f"({percent(choice.misses.low)} to {percent(choice.misses.high)}){mark}"
        )
    _draw(found, choices(profile.calibration, profile.promise.confidence, scores), out)


def _draw(found: Calibrated, known: list[Choice], out: Path) -> None:
    """The trade-off as a picture beside the profile; a sentence where nothing can draw it."""
    from anomaly.report.tradeoff import draw_tradeoff
    from anomaly.runs.saving import explained

    promise, path = found.profile.promise, out.with_name(f"{out.stem}-tradeoff.png")
    try:
        with explained(str(path), out.parent, None):
            draw_tradeoff(
                known, promise.rank, promise.confidence, f"Calibrated for: {found.profile.object}", path
            )
    except ImportError:
        click.echo('  As a plot: pip install "steer-anomaly[plots]" and calibrate again')
    else:
        click.echo(f"  as a plot: {path}")
