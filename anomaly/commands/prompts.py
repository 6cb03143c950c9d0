"""`steer-anomaly prompts`: which prompt sets there are, and what exactly one says to the model."""

from __future__ import annotations

from dataclasses import asdict

import click

from anomaly.commands.listing import json_option, show_json


@click.group("prompts")
def prompts() -> None:
    """Prompt sets: list them, show one.

    \b
    Example:
      steer-anomaly prompts list
    """


@prompts.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """Every prompt set that ships with the tool.

    \b
    Example:
      steer-anomaly prompts list
    """
    from anomaly import prompts as sets

    every = [sets.load(name) for name in sets.names()]
    if as_json:
        show_json([asdict(found) for found in every])
        return
    for found in every:
        count = f"{len(found.prompts)} - {len(found.contrast)}" if found.contrast else f"{len(found.prompts)}"
        click.echo(f"{found.name:24} {count:7} {found.description}")
    click.echo("\n10 - 1: ten prompts averaged, one subtracted. Own sets: YAML, or text, a prompt per line.")


@prompts.command("show")
@click.argument("name")
@click.option(
    "--object", "object_", default=None, help="The part's name, to see the texts as the model gets them."
)
def show_command(name: str, object_: str | None) -> None:
    """One set, by its name or as a file, word for word.

    \b
    Example:
      steer-anomaly prompts show default --object metal_nut
    """
    from anomaly import prompts as sets

    found = sets.load(name)
    click.echo(f"# {found.name}: {found.description}")
    if found.source:
        click.echo(f"# source: {found.source}")
    for text in found.prompts if object_ is None else found.fill(object_):
        click.echo(text)
    for text in found.contrast if object_ is None else found.fill_contrast(object_):
        click.echo(f"- {text}")
    if found.contrast:
        click.echo("# - : the mean map of these is subtracted")
    if found.without_object:
        click.echo(
            f"# note: {len(found.without_object)} of these do not mention {{object}}, the part's name",
            err=True,
        )
