"""`steer-anomaly inspect`: folder in; verdicts, heatmaps, masks and a report out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands import exit_codes
from anomaly.commands.options import (
    gate_option,
    inspection_options,
    make_inspector,
    object_option,
    profile_option,
    size_options,
)
from anomaly.commands.profiles import profiled_inspector
from anomaly.commands.sections import SectionedCommand, in_section

if TYPE_CHECKING:
    from anomaly.decision.profile import Profile
    from anomaly.inspector import Inspector
    from anomaly.runs.folder import ResultFolder

files, verdict = in_section("Input and output"), in_section("Verdict")


class NoVerdict(click.ClickException):
    """A verdict was asked for and none can be given."""

    exit_code = exit_codes.UNJUDGED


@click.command(
    cls=SectionedCommand,
    epilog="""\b
Example:
  steer-anomaly inspect --object bottle img/ --out results

\b
Exit codes; where several apply, the first of this list:
  130 interrupted
   70 error of the program itself
    2 wrong usage or settings
    1 defects found (with --fail-on-defect)
    5 some photographs are unfit to be judged (with --profile)
    6 the line has drifted from what --profile was calibrated on
    4 not judged (with --fail-on-defect)
    3 some images could not be read or judged
    0 done""",
)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
@object_option
@profile_option
@files("--out", default="steer-anomaly-out", show_default=True, metavar="DIR", help="Folder for the results.")
@files("--overwrite", is_flag=True, help="Delete the results of another run in --out first.")
@files(
    "--save",
    type=click.Choice(["all", "defects", "none"]),
    default="all",
    show_default=True,
    help="Of which images heatmap, mask and overlay are written; tables and report list all.",
)
@files("--quiet", is_flag=True, help="No progress bar.")
@inspection_options
@size_options
@gate_option
@verdict("--fail-on-defect", is_flag=True, help="Exit with 1 when a defect is found, for scripts.")
@click.pass_context
def inspect(
    context: click.Context,
    inputs: tuple[str, ...],
    part: str | None,
    profile: Path | None,
    no_gate: bool,
    out: str,
    overwrite: bool,
    save: str,
    fail_on_defect: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Find defects in photographs of one kind of part.

    INPUTS are images, folders (searched to any depth), globs, or text files listing images. Run the same
    command again and it continues where it stopped.
    """
    from anomaly.bundle.contents import is_bundle
    from anomaly.errors import SteerAnomalyError
    from anomaly.pictures.inputs import collect
    from anomaly.runs.folder import ResultFolder
    from anomaly.runs.saving import OutputError

    if profile is None and part is None and not is_bundle(options["model"]):
        raise click.UsageError("Missing option '--object' (or '--profile').")
    paths = collect(inputs)
    if profile is not None:
        inspector = profiled_inspector(context, profile, not no_gate, options)
    else:
        # A script that asks for verdicts gets them from what was measured for pictures judged alone.
        inspector = make_inspector(pictures=0 if fail_on_defect else len(paths), inputs=paths, **options)
    known = inspector.judge.profile
    if inspector.bundle is not None:  # asked about another part it says so
        part = part or inspector.bundle.manifest.object
    part = part or (known.object if known else "")
    if fail_on_defect and inspector.point is None:
        raise NoVerdict(f"--fail-on-defect needs a threshold: {_standing(inspector)}")
    try:
        with ResultFolder(out, run_info(inspector, part), overwrite, save=save) as folder:
            _inspect_all(folder, paths, inputs, inspector, part, options["batch_size"], quiet)
            if known is None:  # a profile's gate says it of each photograph
                _say_another_part(folder, paths)
            counts, others = folder.counts(), _others(folder, paths)
            drift = _follow(folder, paths, known) if known else None
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; what was done is in {out}: run the same command again to continue", err=True
        )
        sys.exit(exit_codes.INTERRUPTED)
    except OutputError as error:
        raise SteerAnomalyError(
            f"{error} (--out names the folder, --overwrite deletes its results)"
        ) from error
    _summarise(counts, inspector, Path(out), others)
    if drift and drift["alarm"]:
        click.echo(
            f"Drift since {drift['alarm_at']}: look at {Path(out) / 'drift.json'}. {drift['sentence']}"
        )
    sys.exit(_exit_code(counts, fail_on_defect, bool(drift and drift["alarm"])))


def _follow(folder: ResultFolder, paths: list[Path], profile: Profile) -> dict[str, Any]:
    """What became of the line over the images in the order given; kept in the folder and its report."""
    from anomaly.runs import drift_log
    from anomaly.runs.judging import keep_profile

    found = drift_log.follow(profile, [row for path in paths if (row := folder.row_of(path)) is not None])
    drift_log.write(folder.path, found)
    keep_profile(folder.path, profile)
    folder.run["drift"] = drift_log.brief(found)
    return found


def _exit_code(counts: dict[str, int], fail_on_defect: bool, drifted: bool = False) -> int:
    """A defect wins over images that failed; with `fail_on_defect` nothing unjudged passes."""
    if fail_on_defect and counts["defect"]:
        return exit_codes.DEFECT
    if counts.get("unfit"):
        return exit_codes.UNFIT
    if drifted:
        return exit_codes.DRIFT
    if fail_on_defect and counts["unjudged"]:
        return exit_codes.UNJUDGED
    return exit_codes.FAILED_IMAGES if counts["unreadable"] + counts.get("failed", 0) else exit_codes.OK


def run_info(inspector: Inspector, part: str) -> dict[str, Any]:
    """What `run.json` keeps about a run: command, object, settings, versions, model and its card."""
    import platform
    from importlib.metadata import version  # importing them would take seconds

    from anomaly.decision.verdict import promises_of, usual_of

    bundle = inspector.bundle
    modules = ("torch", "timm", "transformers", "numpy") if bundle is None else ("numpy", bundle.package)
    record, profile = inspector.record, inspector.judge.profile
    return {
        "promises": promises_of(profile) if profile else [],
        "usual": usual_of(profile) if profile else None,
        "command": shlex.join(["steer-anomaly", *sys.argv[1:]]),
        "object": part,
        "settings": inspector.describe(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in modules},
        "model": {
            "name": record.name,
            "about": record.about,
            "licence": record.licence,
            "sha256": record.hashes,
        },
        "card": record.card,
        "note": _note(inspector),
    }


def _note(inspector: Inspector) -> str:
    return f"Produced by {inspector.record.name}: {inspector.record.about}. {_standing(inspector)}"


def _standing(inspector: Inspector) -> str:
    """What the verdicts rest on, in a sentence for users."""
    point = inspector.point
    from anomaly.decision.verdict import standing_of

    company = f" Compared with {inspector.settings.company}." if inspector.settings.company else ""
    if point is not None and point.calibrated:
        return f"{standing_of(inspector.judge)}{company}"
    if point is None:
        said = "" if (inspector.settings.company or "-") in inspector.why_unjudged else company
        return f"Ranked, not judged: {inspector.why_unjudged}; give a threshold with --threshold.{said}"
    if point.settings is None:
        return f"Judged with threshold {point.threshold:.4g}, {point.source}.{company}"
    return (
        f"Ranked, not judged on your parts: threshold {point.threshold:.4g} is a starting point, {point.source}; "
        f"set your own with --threshold.{company}"
    )


def _inspect_all(
    folder: ResultFolder,
    paths: list[Path],
    inputs: tuple[str, ...],
    inspector: Inspector,
    part: str,
    batch_size: int,
    quiet: bool,
) -> None:
    from tqdm import tqdm

    from anomaly.pictures.inputs import input_roots
    from anomaly.runs.inspecting import inspect_into
    from anomaly.runs.inspecting_sets import done_as_a_set, inspect_set_into, was_another_set

    pending = folder.pending(paths)
    if inspector.mutual and not done_as_a_set(folder, paths):
        pending = paths
        if was_another_set(folder, paths):
            click.echo("The set of images has changed: all of them are compared anew", err=True)
    if len(pending) < len(paths):
        click.echo(f"{len(paths) - len(pending)} of {len(paths)} images are done already", err=True)
    if pending:
        inspector.prepare(part, last=True)
        doubts = [finding.message for finding in inspector.check_references(part)]
        folder.run["doubts"] = doubts
        for said in doubts:
            click.echo(f"note: {said}", err=True)
    with tqdm(total=len(pending) * (2 if inspector.mutual else 1), unit="image", disable=quiet) as bar:
        if inspector.mutual:
            rows = inspect_set_into(
                folder, pending, input_roots(inputs), inspector, part, batch_size, lambda path: bar.update()
            )
        else:
            rows = inspect_into(folder, pending, input_roots(inputs), inspector, part, batch_size)
        for row in rows if pending else ():
            if row.error:
                bar.write(f"{row.file}: {row.error}", file=sys.stderr)
            bar.update()


def _say_another_part(folder: ResultFolder, paths: list[Path]) -> None:
    """Where most pictures are odd everywhere: the references are at fault, not the parts."""
    from anomaly.evidence.reference_check import ANOTHER_PART, check_part

    rows = [row for path in paths if (row := folder.row_of(path)) is not None]
    said = check_part([row.unlike for row in rows if row.unlike is not None])
    earlier = [one for one in folder.run.get("doubts", ()) if not one.startswith(ANOTHER_PART)]
    folder.run["doubts"] = [*earlier, *([said] if said else [])]
    if said:
        click.echo(f"note: {said}", err=True)


def _others(folder: ResultFolder, paths: list[Path]) -> int:
    """With how many other pictures of the run each was compared, at most; 0 where they were judged alone."""
    rows = [row for path in paths if (row := folder.row_of(path)) is not None]
    return max((row.compared_with or 0 for row in rows), default=0)


def _summarise(counts: dict[str, int], inspector: Inspector, out: Path, others: int) -> None:
    images = sum(counts.values())
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    click.echo(_standing(inspector))
    company = f", each compared with {others} others" if others else ""
    click.echo(f"{images} images inspected with {inspector.record.name}{company}: {', '.join(parts)}")
    click.echo(f"report: {(out / 'report.html').resolve()}")
