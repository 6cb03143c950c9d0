"""The options that say how images are inspected, shared by every command that inspects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from anomaly.inspector import Inspector

_OPTIONS = (
    click.option("--model", default="nano", show_default=True, metavar="NAME_OR_PATH",
                 help="The embedded nano, a published model (`steer-anomaly models list`) or a checkpoint."),
    click.option("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's."),
    click.option("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's."),
    click.option("--prompts", "prompt_set", default=None, metavar="SET_OR_FILE",
                 help="Prompt set by name or file; default: the set called default."),
    click.option("--prompt", "texts", multiple=True, metavar="TEXT",
                 help="A prompt of your own with {object} in it; repeat it for an ensemble."),
    click.option("--omega", default=1.0, show_default=True, help="Strength of the text: 0 none, 1 as trained."),
    click.option("--activation", type=click.Choice(["softmax", "sigmoid", "logit"]),
                 help="From the model's logits to heatmap values.  [default: the model's]"),
    click.option("--smooth", type=click.FloatRange(0, 100), metavar="SIGMA",
                 help="Gaussian smoothing, in pixels of the model's image.  [default: the model's]"),
    click.option("--scales", metavar="LIST",
                 help="Average the whole image (1) with overlapping tiles, such as 1,2 or 1,2x3."),
    click.option("--tiles", metavar="N|RxC",
                 help="Only overlapping tiles, N x N or rows x columns: small defects in large images."),
    click.option("--self-similarity", type=click.FloatRange(0, 10), metavar="WEIGHT",
                 help="Weight of how unlike the rest of its image a patch is.  [default: the model's]"),
    click.option("--dark-lines", type=click.FloatRange(0, 10), metavar="WEIGHT",
                 help="Weight of lines darker than their surroundings.  [default: the model's]"),
    click.option("--threshold", type=float, help="Score from which an image is a defect.  [default: the model's]"),
    click.option("--mask-threshold", type=float, help="Heatmap value that outlines regions.  [default: --threshold]"),
    click.option("--device", metavar="cpu|cuda|...", help="Where to run.  [default: cuda if there, else cpu]"),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
                 help="bf16 is faster and changes scores slightly."),
    click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time."),
)  # fmt: skip


def inspection_options(command: Callable) -> Callable:
    """Add every inspection option to a click command; pass them on to `make_inspector`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_inspector(
    *, prompt_set: str | None, texts: tuple[str, ...], tiles: str | None, batch_size: int, **options: Any
) -> Inspector:
    """The `Inspector` that the inspection options describe. Raises `SteerAnomalyError` where they contradict."""
    from anomaly import prompts
    from anomaly.errors import SteerAnomalyError
    from anomaly.inspector import Inspector
    from steervit.weights.catalogue import licence_notice

    if texts and prompt_set:
        raise SteerAnomalyError("expected --prompts or --prompt, got both: put your sentences into a file")
    if tiles and options["scales"]:
        raise SteerAnomalyError(
            "expected --tiles or --scales, got both: --scales 1,3 averages tiles with the whole"
        )
    if tiles:
        options["scales"] = tiles
    chosen = prompts.from_texts(texts) if texts else prompts.load(prompt_set or "default")
    if chosen.without_object:
        click.echo(f"note: {len(chosen.without_object)} prompts do not name the part", err=True)
    if notice := licence_notice(options["model"]):
        click.echo(f"note: {notice}", err=True)
    return Inspector(prompts=chosen, **options)
