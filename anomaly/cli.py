"""The `steer-anomaly` command: gathers the subcommands and turns errors into messages and exit codes.

Nothing here, nor at the top of any module in `anomaly.commands`, imports torch, OpenCV or transformers.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from typing import Any

import click

from anomaly import __version__
from anomaly.commands import exit_codes
from anomaly.commands.archive import archive
from anomaly.commands.calibrate import calibrate
from anomaly.commands.camera import camera
from anomaly.commands.datasets import datasets
from anomaly.commands.eval import eval_command
from anomaly.commands.export import export
from anomaly.commands.inspect import inspect
from anomaly.commands.judge import judge
from anomaly.commands.models import models
from anomaly.commands.profile import profile
from anomaly.commands.prompts import prompts
from anomaly.commands.score import score
from anomaly.commands.serve import serve
from anomaly.commands.train import train
from anomaly.commands.vectors import vectors
from anomaly.commands.verify import verify
from anomaly.commands.watch import watch
from anomaly.errors import SteerAnomalyError

DEBUG = "STEER_ANOMALY_DEBUG"


class Refused(click.ClickException):
    """Bad input or settings: the message, and exit code 2."""

    exit_code = exit_codes.USAGE


class Tool(click.Group):
    """A command group that shows our own errors as one message, and no error of the program as "defects found"."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SteerAnomalyError as error:
            raise Refused(str(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:  # click would exit with 1
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(exit_codes.INTERRUPTED) from error
        except BrokenPipeError as error:  # so would it here: whoever read our output has gone
            _close_output()
            raise click.exceptions.Exit(exit_codes.INTERRUPTED) from error
        except Exception as error:
            _tell_crash(error, ctx.params.get("debug", False))
            raise click.exceptions.Exit(exit_codes.CRASH) from error


def _close_output() -> None:
    # Python would complain once more when it flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _tell_crash(error: Exception, debug: bool) -> None:
    if debug or os.environ.get(DEBUG):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    else:
        place = traceback.extract_tb(error.__traceback__)[-1]
        click.echo(f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})", err=True)
    command = shlex.join(["steer-anomaly", "--debug", *(word for word in sys.argv[1:] if word != "--debug")])
    click.echo(
        f"This is an error of steer-anomaly {__version__}, not of your images or settings. Please report it "
        f"with what `{command}` prints.",
        err=True,
    )


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steer-anomaly")
@click.option(
    "--debug", is_flag=True, help=f"Show where an unexpected error came from; {DEBUG}=1 does so too."
)
def main(debug: bool) -> None:
    """Find defects in photographs of parts, told only what the part is called."""


for command in (
    inspect, judge, calibrate, profile, serve, watch, camera, archive, eval_command, score, train, prompts,
    models, datasets, vectors, export, verify,
):  # fmt: skip
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="steer-anomaly")
