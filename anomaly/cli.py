"""The `steer-anomaly` command: gathers the subcommands and turns our errors into exit codes.

Nothing here, nor at the top of any module in `anomaly.commands`, imports torch, OpenCV or transformers.
"""

from __future__ import annotations

from typing import Any

import click

from anomaly import __version__
from anomaly.commands.datasets import datasets
from anomaly.commands.eval import eval_command
from anomaly.commands.inspect import inspect
from anomaly.commands.models import models
from anomaly.commands.prompts import prompts
from anomaly.commands.score import score
from anomaly.commands.train import train
from anomaly.errors import SteerAnomalyError


class Refused(click.ClickException):
    """Bad input or settings: the message, and exit code 2."""

    exit_code = 2


class Tool(click.Group):
    """A command group that shows our own errors as one message with exit code 2, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SteerAnomalyError as error:
            raise Refused(str(error)) from error


@click.group(cls=Tool, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steer-anomaly")
def main() -> None:
    """Find defects in photographs of parts, told only what the part is called."""


for command in (inspect, eval_command, score, train, prompts, models, datasets):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="steer-anomaly")
