"""The `steer-anomaly` command: gathers the subcommands and turns our errors into exit codes.

Nothing here, nor at the top of any module in `anomaly.commands`, imports torch, OpenCV or transformers.
"""

from __future__ import annotations

import click

from anomaly import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steer-anomaly")
def main() -> None:
    """Find defects in photographs of parts, told only what the part is called."""
