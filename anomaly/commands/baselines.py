"""`--method NAME` of `eval`: a baseline under the same protocol, and which options say nothing to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from anomaly.methods.method_inspector import MethodInspector

# Options of an inspection that a baseline understands.
TAKEN = ("prompt_set", "texts", "omega", "smooth", "guided", "references", "model", "trunk", "text_encoder", "device",
         "batch_size", "threads")  # fmt: skip


def make_method_inspector(context: click.Context, name: str, options: dict[str, Any]) -> MethodInspector:
    """The method called `name` as an evaluation asks it, with those `options` of an inspection that it understands.

    Raises `click.UsageError` for an option that was typed and says nothing to it, `SteerAnomalyError` for an unknown
    method and for files that are missing.
    """
    from anomaly import prompts
    from anomaly import threads as cores
    from anomaly.commands import options as inspection
    from anomaly.loaded_model import usable_device
    from anomaly.methods.known import kind_of
    from anomaly.methods.method import Asked
    from anomaly.methods.method_inspector import MethodInspector
    from steervit.weights.catalogue import licence_notice

    kind = kind_of(name)
    _refuse(
        context,
        name,
        [one for one in options if one not in TAKEN or (one == "omega" and not kind.weighs_text)],
    )
    cores.use(options["threads"])
    texts, prompt_set = options["texts"], options["prompt_set"]
    if texts and prompt_set:
        raise click.UsageError("expected --prompts or --prompt, got both: put your sentences into a file")
    chosen = prompts.from_texts(texts) if texts else prompts.load(prompt_set or kind.prompt_set)
    if notice := licence_notice(options["model"]):
        click.echo(f"note: {notice}", err=True)
    named = {key: options[key] for key in ("model", "trunk", "text_encoder", "device", "omega")}
    device = str(usable_device(options["device"], options["model"]))
    made = MethodInspector(kind(Asked(chosen, **named)), options["smooth"], device, options["guided"])
    if not options["references"]:
        return made
    given = inspection.read_references(options["references"])
    return made.with_references(given) if given else made


def list_methods(formatter: click.HelpFormatter) -> None:
    """A section of help: each baseline and what it is."""
    from anomaly.methods.known import KINDS

    with formatter.section("Baselines (--method)"):
        formatter.write_dl([(kind.name, kind.about) for kind in KINDS])


def _refuse(context: click.Context, name: str, options: list[str]) -> None:
    typed = ParameterSource.COMMANDLINE
    for parameter in context.command.params:
        if parameter.name in options and context.get_parameter_source(parameter.name) == typed:
            raise click.UsageError(f"{parameter.opts[0]} says nothing to the method {name}")
