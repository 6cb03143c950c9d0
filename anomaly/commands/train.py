"""`steer-anomaly train`: trains the encoder from a recipe, draws a run's curves, makes masks for training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomaly import resources
from anomaly.commands.extras import need
from anomaly.commands.listing import json_option, show_json
from anomaly.commands.masks import masks
from anomaly.errors import as_user_errors

if TYPE_CHECKING:
    from steervit.training.recipe import Recipe

LISTED = ("name", "about", "command", "hardware", "duration", "hours", "score")


class RecipeGroup(click.Group):
    """A group whose first word may be a recipe instead of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if name != "run"]


@click.group("train", cls=RecipeGroup, subcommand_metavar="RECIPE [OPTIONS] | COMMAND [ARGS]...")
def train() -> None:
    """Train the encoder from RECIPE: a name from `train list`, or a file.

    \b
    Options of a recipe (`steer-anomaly train run --help` tells more):
      --set KEY=VALUE   change one key of the recipe; may be repeated
      --out DIR         the run's folder              [default: runs/RECIPE]
      --resume          go on from the run's last checkpoint
      --dry-run         say what would be done, and do nothing

    \b
    Example:
      steer-anomaly train smoke --out runs/smoke
    """


@train.command("run")
@click.argument("recipe")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one key; may be repeated."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/RECIPE]")
@click.option("--resume", is_flag=True, help="Go on from the last whole checkpoint, exactly.")
@click.option("--dry-run", is_flag=True, help="Print recipe, parameters, data, steps and hours; do nothing.")
@click.option("--device", help="cpu, cuda, ...  [default: a GPU if there is one]")
@click.option(
    "--text-cache",
    type=click.Path(path_type=Path),
    help="Where features of sentences are kept, for other runs too.  [default: text-features beside the run]",
)
@click.pass_context
def run_command(
    context: click.Context,
    recipe: str,
    settings: tuple[str, ...],
    out: Path | None,
    resume: bool,
    dry_run: bool,
    device: str | None,
    text_cache: Path | None,
) -> None:
    """Train from RECIPE. The model is in best/ and last/ of the run's folder: give either to --model.

    On several GPUs or machines: torchrun --nproc-per-node N --nnodes M $(which steer-anomaly) train RECIPE ...
    Ctrl-C ends the run after the step with a checkpoint, and exit code 130.

    \b
    Example:
      steer-anomaly train smoke --set train.steps=50 --dry-run
    """
    with as_user_errors():
        made = _load(recipe, settings)
        if dry_run:
            from steervit.training.dry_run import dry_run as describe_run

            click.echo(describe_run(made, device))
            return
        from steervit.training import run

        need("train", "training")
        out = out or Path("runs") / made.name
        outcome = run.train(made, out, resume, device, text_cache, lambda text: click.echo(text, err=True))
    if outcome.interrupted:
        click.echo(f"Interrupted after step {outcome.step}. Go on with --resume", err=True)
        context.exit(130)
    if _leads():
        best = "" if outcome.best is None else f", best pmass {outcome.best:.3f}"
        began = "" if outcome.first is None else f" ({outcome.first:.3f} before the first step)"
        click.echo(f"{outcome.step} steps{best}{began}. Model: {out / 'best'} and {out / 'last'}")


@train.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """The recipes that come with steer-anomaly.

    \b
    Example:
      steer-anomaly train list
    """
    with as_user_errors():
        recipes = [_load(name, ()) for name in resources.files("train")]
    if as_json:
        show_json([{name: getattr(made, name) for name in LISTED} for made in recipes])
        return
    for made in recipes:
        click.echo(f"{made.name:30} {made.about}")


@train.command("plot")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The picture.  [default: RUN/curves.png]")
def plot_command(run: Path, out: Path | None) -> None:
    """Draw the curves of RUN, a folder that `train` writes or wrote: loss, pmass, learning rate, speed.

    \b
    Example:
      steer-anomaly train plot runs/smoke
    """
    need("plots", "drawing curves")
    with as_user_errors():
        from steervit.training.progress import plot_run

        click.echo(plot_run(run, out))


train.add_command(masks)


def _load(recipe: str, settings: tuple[str, ...]) -> Recipe:
    from steervit.training import recipe as recipes

    return recipes.load(recipe, resources.folder("train"), settings)


def _leads() -> bool:
    return os.environ.get("RANK", "0") == "0"
