"""`steer-anomaly profile`: shows, checks, joins and extends what `calibrate` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly.commands.profile_versions import back, history
from anomaly.commands.profiles import read_profile

if TYPE_CHECKING:
    from anomaly.decision.profile import Profile

FILE = click.Path(path_type=Path)
out_option = click.option("--out", type=FILE, required=True, metavar="FILE", help="The profile to write.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace it when it is there already.")
effort_option = click.option("--best-effort", is_flag=True, help="Go on where the rate cannot be promised.")


@click.group()
def profile() -> None:
    """Show, check, merge and extend profiles that `steer-anomaly calibrate` wrote."""


@profile.command()
@click.argument("path", type=FILE, metavar="PROFILE")
def show(path: Path) -> None:
    """Say what a profile holds and promises."""
    click.echo(read_profile(path).describe())


@profile.command()
@click.argument("path", type=FILE, metavar="PROFILE")
@click.option("--model", metavar="PATH", help="The checkpoint, when the profile's model is one of your own.")
@click.option("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's.")
@click.option("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's.")
def check(path: Path, model: str | None, trunk: str | None, text_encoder: str | None) -> None:
    """Check that this installation scores as the profile was calibrated: model, settings, references."""
    from anomaly.inspector import Inspector

    known = read_profile(path)
    Inspector.from_profile(known, model=model, trunk=trunk, text_encoder=text_encoder)
    click.echo(f"{path}: whole; the model, every setting and the references are those of its calibration")
    click.echo(known.promise.sentence())


@profile.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@out_option
@overwrite_option
@effort_option
def merge(first: Path, second: Path, out: Path, overwrite: bool, best_effort: bool) -> None:
    """Join two calibrations with the same references and settings into one that promises more."""
    from anomaly.decision import profile as profiles

    joined = profiles.merge(read_profile(first), read_profile(second), best_effort=best_effort)
    _write(joined, out, overwrite)


@profile.command()
@click.argument("path", type=FILE, metavar="PROFILE")
@click.argument("good", nargs=-1, required=True, metavar="GOOD...")
@click.option("--model", metavar="PATH", help="The checkpoint, when the profile's model is one of your own.")
@click.option("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's.")
@click.option("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's.")
@out_option
@overwrite_option
@effort_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def extend(
    path: Path,
    good: tuple[str, ...],
    model: str | None,
    trunk: str | None,
    text_encoder: str | None,
    out: Path,
    overwrite: bool,
    best_effort: bool,
    quiet: bool,
) -> None:
    """Add further good parts to a calibration; the references stay as they are."""
    from anomaly.commands.calibrate import observed
    from anomaly.decision import profile as profiles
    from anomaly.decision.calibrating import scored_alone
    from anomaly.inspector import Inspector
    from anomaly.pictures.inputs import collect

    known, paths = read_profile(path), collect(good)
    inspector = Inspector.from_profile(known, model=model, trunk=trunk, text_encoder=text_encoder)
    seen = observed(paths, inspector, known.object, quiet, "good")
    new, looks, contents = scored_alone(seen, inspector, known.promise.scoring)
    longer = profiles.extend(known, new, contents, looks, best_effort=best_effort)
    _write(longer, out, overwrite)


profile.add_command(history)
profile.add_command(back)


def _write(made: Profile, out: Path, overwrite: bool) -> None:
    from anomaly.decision import profile_file
    from anomaly.errors import SteerAnomalyError

    if out.exists() and not overwrite:
        raise SteerAnomalyError(f"{out} is there already: pass --overwrite, or choose another --out")
    profile_file.save(made, out)
    click.echo(f"{out}: {made.promise.sentence()}")
