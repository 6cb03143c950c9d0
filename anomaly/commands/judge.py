"""`steer-anomaly judge`: other verdicts for a finished run, at once, from its kept scores and maps."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands.options import size_options
from anomaly.commands.profiles import typed
from anomaly.commands.rates import Rate
from anomaly.commands.sections import SectionedCommand, in_section

if TYPE_CHECKING:
    from anomaly.decision.profile import Profile
    from anomaly.decision.verdict import Judge
    from anomaly.regions import Least
    from anomaly.runs.judging import FinishedRun

verdict = in_section("Verdict")


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Examples:
  steer-anomaly judge results --threshold 4.2
  steer-anomaly judge results --profile bottle.profile --false-alarms 0.5%

\b
Exit codes: 1 defects found (with --fail-on-defect), 2 wrong usage, 5 unfit photographs, 6 drift, 0 done.""",
)
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@verdict(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `steer-anomaly calibrate` wrote, of the settings the run was made with.  [default: the run's own]",
)
@verdict("--false-alarms", type=Rate(), metavar="RATE", help="At most so many good parts called defective.")
@verdict("--confidence", type=Rate(), metavar="RATE", help="How sure that is.  [default: the profile's]")
@verdict("--best-effort", is_flag=True, help="Go on where the rate cannot be promised.")
@verdict("--threshold", type=float, metavar="SCORE", help="Score from which an image is a defect.")
@verdict("--mask-threshold", type=float, metavar="VALUE", help="Heatmap value that outlines regions.")
@size_options
@verdict("--no-gate", is_flag=True, help="Judge photographs that look unfit, too.")
@verdict("--fail-on-defect", is_flag=True, help="Exit with 1 when a defect is found, for scripts.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def judge(
    out: Path,
    profile: Path | None,
    false_alarms: float | None,
    confidence: float | None,
    best_effort: bool,
    threshold: float | None,
    mask_threshold: float | None,
    min_area: str,
    min_size: str,
    mm_per_pixel: float | None,
    no_gate: bool,
    fail_on_defect: bool,
    quiet: bool,
) -> None:
    """Judge a finished run again: verdicts, masks, outlines, tables and report; no inference.

    OUT is a folder that `steer-anomaly inspect` wrote. Scores and heatmaps stay as they are. Of a table that
    `steer-anomaly archive` wrote it says what would change, and changes nothing.
    """
    from tqdm import tqdm

    from anomaly.errors import SteerAnomalyError
    from anomaly.regions import Least
    from anomaly.runs.judging import FinishedRun

    if threshold is not None and (false_alarms or confidence):
        raise SteerAnomalyError("expected --threshold or --false-alarms, got both: a rate sets the threshold")
    if (table := _table(out)) is not None:
        from anomaly.commands.archived import judge_table

        context = click.get_current_context()
        maps = ("mask_threshold", "min_area", "min_size", "mm_per_pixel", "fail_on_defect")
        if any(typed(context, name) for name in maps):
            raise SteerAnomalyError(
                "expected a threshold or a profile for a table; it keeps no maps to outline again"
            )
        judge_table(table, profile, threshold, false_alarms, confidence, best_effort, not no_gate)
        return
    with FinishedRun(out) as run:
        known = _profile(run, profile)
        if known is None and (false_alarms or confidence):
            raise SteerAnomalyError(
                "expected a profile to know false alarms by, this run was made without one: give it by --profile"
            )
        if known is not None and (false_alarms or confidence):
            known = known.at(false_alarms or known.promise.target, confidence, best_effort=best_effort)
        had = known.least if known is not None and profile is not None else Least.from_dict(run.settings)
        least = _least(had, min_area, min_size, mm_per_pixel)
        judging = _judge(run, known, threshold, mask_threshold, least, not no_gate)
        with tqdm(total=len(run.rows), unit="image", disable=quiet) as bar:
            found = run.judge(judging, bar.update)
        changes, drift = _changes(run, judging, known, found.rows)
        run.write(found.rows, changes)
    click.echo(changes["note"])
    counted = ", ".join(f"{count} {word}" for word, count in run.run["counts"].items() if count)
    click.echo(f"{len(found.rows)} images judged again, {found.changed} otherwise than before: {counted}")
    if found.undrawn:
        click.echo(f"{found.undrawn} defects are not outlined: their heatmaps were not kept", err=True)
    click.echo(f"report: {(out / 'report.html').resolve()}")
    sys.exit(_exit_code(run.run["counts"], fail_on_defect, drift))


def _table(out: Path) -> str | None:
    """The place of a table of an archive; None for anything else."""
    text = re.sub(r"^(\w+):/(?!/)", r"\1://", str(out))  # as it was typed: a path has no two slashes in a row
    if "://" not in text and not (out / "_run.json").is_file():
        return None
    from anomaly.commands.extras import need

    need("archive", "judge of a table")
    return text


def _profile(run: FinishedRun, path: Path | None) -> Profile | None:
    from anomaly.commands.profiles import read_profile
    from anomaly.runs.judging import check_scored_alike, own_profile

    if path is None:
        return own_profile(run.out)
    profile = read_profile(path)
    check_scored_alike(run.settings, profile.settings_hash)
    return profile


def _least(had: Least, min_area: str, min_size: str, mm_per_pixel: float | None) -> Least:
    """What is asked for; what is not, as the run or its profile had it."""
    from anomaly.regions import Least

    asked = Least.of(min_area, min_size, had.mm_per_pixel if mm_per_pixel is None else mm_per_pixel)
    context = click.get_current_context()
    return Least(
        asked.area if typed(context, "min_area") else had.area,
        asked.size if typed(context, "min_size") else had.size,
        asked.mm_per_pixel,
    )


def _judge(
    run: FinishedRun,
    profile: Profile | None,
    threshold: float | None,
    mask_threshold: float | None,
    least: Least,
    gate: bool,
) -> Judge:
    from anomaly.decision.threshold import OperatingPoint, with_given
    from anomaly.decision.verdict import Judge, judge_of, level_for
    from anomaly.errors import SteerAnomalyError
    from anomaly.settings import InspectionSettings

    judging = judge_of(profile, gate, least) if profile else Judge(_point(run), least=least)
    if threshold is not None or mask_threshold is not None:
        try:
            settings = InspectionSettings.from_run(run.settings)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise SteerAnomalyError(
                f"expected the settings of an inspection in {run.out / 'run.json'}, got others; inspect again"
            ) from error
        rated = profile is not None and profile.promise.bound is not None
        if profile is not None and rated and threshold is not None and mask_threshold is None:
            mask_threshold = level_for(profile, threshold)
        point = with_given(judging.point, threshold, mask_threshold, settings)
        judging = Judge(point, profile, judging.gate, least)
    if not isinstance(judging.point, OperatingPoint):
        raise SteerAnomalyError(
            "expected a threshold to judge by, this run has none: give --threshold or --profile"
        )
    return judging


def _point(run: FinishedRun) -> Any:
    from anomaly.decision.threshold import OperatingPoint

    said = run.settings
    if said.get("threshold") is None:
        return None
    mask = said.get("mask_threshold")
    return OperatingPoint(
        said["threshold"], said["threshold"] if mask is None else mask, said.get("false_alarm_rate"),
        str(said.get("threshold_source")),
    )  # fmt: skip


def _changes(
    run: FinishedRun, judging: Judge, profile: Profile | None, rows: tuple
) -> tuple[dict[str, Any], bool]:
    """What `run.json` says of the new verdicts, and whether the line has drifted."""
    from anomaly.decision.verdict import promises_of, standing_of, usual_of
    from anomaly.runs import claim, drift_log
    from anomaly.runs.judging import keep_profile

    point = judging.point
    assert point is not None
    about = run.run.get("model", {})
    changes: dict[str, Any] = {
        "settings": (
            {name: value for name, value in run.settings.items() if name not in ("min_area", "min_size")}
            | judging.least.to_dict()
            | {
                "threshold": point.threshold, "mask_threshold": point.mask_threshold,
                "false_alarm_rate": point.false_alarm_rate, "threshold_source": point.source,
            }
        ),
        "note": f"Produced by {about.get('name')}: {about.get('about')}. {standing_of(judging)}",
        "promises": promises_of(profile) if profile else [],
        "usual": usual_of(profile) if profile else None,
        "judged_again": [
            *run.run.get("judged_again", []),
            {"at": claim.now(), "command": shlex.join(["steer-anomaly", *sys.argv[1:]])},
        ],
    }  # fmt: skip
    if profile is None:
        return changes, False
    changes["settings"]["profile"] = profile.digest
    keep_profile(run.out, profile)
    found = drift_log.follow(profile, rows)
    drift_log.write(run.out, found)
    return changes | {"drift": drift_log.brief(found)}, found["alarm"]


def _exit_code(counts: dict[str, int], fail_on_defect: bool, drifted: bool) -> int:
    if fail_on_defect and counts.get("defect"):
        return exit_codes.DEFECT
    if counts.get("unfit"):
        return exit_codes.UNFIT
    return exit_codes.DRIFT if drifted else exit_codes.OK
