"""`steer-anomaly eval core | genecis | pods | mosaic`: how far text steers the features, as in the paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.extras import need
from anomaly.commands.sections import SectionedCommand

if TYPE_CHECKING:
    from anomaly.steerability.steered import Steered

_OPTIONS = (
    click.option("--root", required=True, type=click.Path(path_type=Path), help="The unpacked benchmark."),
    click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: runs/eval-NAME-MODEL]"),
    click.option("--omega", default=1.0, show_default=True, help="Strength of the text: 0 none, 1 as trained."),
    click.option("--model", default="nano", show_default=True, metavar="NAME_OR_PATH",
                 help="A name from `steer-anomaly models list`, or a checkpoint."),
    click.option("--trunk", metavar="FILE", help="Local weights for the model's trunk, in place of the hub's."),
    click.option("--text-encoder", metavar="DIR", help="Local RoBERTa folder, in place of the hub's."),
    click.option("--device", metavar="cpu|cuda|...", help="Where to run.  [default: cuda if there, else cpu]"),
    click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time."),
    click.option("--threads", type=click.IntRange(1), metavar="N", help="Cores to use."),
)  # fmt: skip


def shared_options(command: Callable) -> Callable:
    """Where the benchmark is, which model, where to run: the same for each."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("core")
@shared_options
@click.option("-k", default=1, show_default=True, type=click.IntRange(1), help="Precision among the first k.")
@click.option(
    "--random-prompts", is_flag=True, help="Every object with another object's prompt (an ablation)."
)
@click.option("--prompts", type=click.Choice(["object", "none"]), default="object", show_default=True,
              help="The data set's sentence of each object, or no text at all.")  # fmt: skip
def core(k: int, random_prompts: bool, prompts: str, **shared: Any) -> None:
    """CORE: another picture with the same small object. results.json has the official script's form.

    \b
    Example:
      steer-anomaly eval core --root data/core --model steervit_dinov2_base
    """
    if random_prompts and prompts == "none":
        raise click.UsageError("expected --random-prompts or --prompts none, got both")
    need("train", "eval core, which reads parquet files,")
    from anomaly.steerability import core as benchmark

    rows = benchmark.load(shared["root"])
    used = benchmark.prompts_by_object(rows)
    setting = "another object's prompt" if random_prompts else f"prompts: {prompts}"
    used = benchmark.random_prompts(used) if random_prompts else used
    texts = None if prompts == "none" else used
    _run(
        "core",
        setting,
        benchmark.gaps(rows),
        lambda steered: benchmark.evaluate(rows, steered, texts, k, _say),
        shared,
    )


@click.command("genecis")
@shared_options
@click.option("--images", type=click.Path(path_type=Path), help="COCO val2017.  [default: ROOT/val2017]")
@click.option(
    "--template", default="the {condition}", show_default=True, help="The sentence made of a condition."
)
@click.option("--prompts", type=click.Choice(["condition", "none"]), default="condition", show_default=True,
              help="The question's condition, or no text at all.")  # fmt: skip
def genecis(images: Path | None, template: str, prompts: str, **shared: Any) -> None:
    """GeneCIS, focus on an object: which of 15 pictures shares the named object.

    \b
    Example:
      steer-anomaly eval genecis --root data/genecis --images data/coco/val2017
    """
    from anomaly.steerability import genecis as benchmark

    text = _template(template, "{condition}", prompts)
    questions = benchmark.load(shared["root"], images)
    _run(
        "genecis",
        _setting(text),
        benchmark.gaps(questions),
        lambda steered: benchmark.evaluate(questions, steered, text, _say),
        shared,
    )


@click.command("pods")
@shared_options
@click.option("--prompts", default="coarse", show_default=True, metavar="coarse|none|FILE",
              help="The kind of thing; no text; or a YAML or JSON table from object to sentence.")  # fmt: skip
def pods(prompts: str, **shared: Any) -> None:
    """PODS: one's own object among others of its kind, from three pictures of it.

    \b
    Example:
      steer-anomaly eval pods --root data/pods --prompts my-sentences.yaml
    """
    from anomaly.steerability import pods as benchmark

    objects = benchmark.load(shared["root"])
    texts = None
    if prompts != "none":
        coarse = prompts == "coarse"
        texts = (
            benchmark.coarse_prompts(objects) if coarse else benchmark.read_prompts(Path(prompts), objects)
        )
    setting = f"prompts: {Path(prompts).name}"
    _run(
        "pods",
        setting,
        benchmark.gaps(objects),
        lambda steered: benchmark.evaluate(objects, steered, texts, _say),
        shared,
    )


@click.command("mosaic")
@shared_options
@click.option("--template", default="the {object}", show_default=True, help="The sentence made of a class.")
@click.option("--prompts", type=click.Choice(["object", "none"]), default="object", show_default=True,
              help="The class that is asked for, or no text at all.")  # fmt: skip
def mosaic(template: str, prompts: str, **shared: Any) -> None:
    """MOSAIC: where the CLS token looks in four pictures. The paper's list of mosaics is not published.

    \b
    Example:
      steer-anomaly eval mosaic --root data/VOCdevkit/VOC2012
    """
    from anomaly.steerability import mosaic as benchmark

    text = _template(template, "{object}", prompts)
    mosaics = benchmark.load(shared["root"])
    setting = f"{_setting(text)}; mosaics of our own draw"
    _run(
        "mosaic",
        setting,
        benchmark.gaps(mosaics),
        lambda steered: benchmark.evaluate(mosaics, steered, text, _say),
        shared,
    )


STEERED: dict[str, click.Command] = {"core": core, "genecis": genecis, "pods": pods, "mosaic": mosaic}


class EvalCommand(SectionedCommand):
    """`eval`, whose benchmarks of steered features have options of their own: `eval core --help`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and (other := STEERED.get(args[0])):
            return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if (name := ctx.params.get("benchmark")) in STEERED:
            raise click.UsageError(f"expected the benchmark first: steer-anomaly eval {name} --root DIR ...")
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Features steered by text, with options of their own"):
            formatter.write_dl([(name, one.get_short_help_str(90)) for name, one in STEERED.items()])


def _run(
    name: str,
    setting: str,
    gaps: list[str],
    evaluate: Callable[[Steered], dict[str, Any]],
    shared: dict[str, Any],
) -> None:
    from anomaly.steerability.outcome import table, write
    from anomaly.testsets.cards import load

    out = shared["out"] or Path("runs") / f"eval-{name}-{Path(shared['model']).stem}"
    steered = _steered(out, shared)
    results = evaluate(steered)
    run = {
        "benchmark": name,
        "setting": setting,
        "full_benchmark": not gaps,
        "gaps": gaps,
        **steered.settings,
    }
    path = write(out, results, run)
    click.echo(table(load(name), (steered.settings["model"], setting, results["global"])))
    if gaps:
        click.echo(f"\nNOT THE FULL BENCHMARK: {'; '.join(gaps[:5])}{'; ...' if len(gaps) > 5 else ''}")
    click.echo(
        f"\nIn %. Results: {path}. Features are kept in {out / 'features'}: the same command goes on from there"
    )


def _steered(out: Path, shared: dict[str, Any]) -> Steered:
    from anomaly import threads
    from anomaly.model_files import find_model
    from anomaly.observer import usable_device
    from anomaly.steerability.steered import Steered
    from steervit.weights.catalogue import licence_notice

    threads.use(shared["threads"])
    if notice := licence_notice(shared["model"]):
        click.echo(f"note: {notice}", err=True)
    device = usable_device(shared["device"], shared["model"])
    found = find_model(shared["model"], shared["trunk"], shared["text_encoder"])
    settings = {"model": found.record.name, "hashes": found.record.hashes}
    return Steered(found.load().to(device), out / "features", settings, shared["omega"], shared["batch_size"])


def _template(template: str, place: str, prompts: str) -> str | None:
    if place not in template:
        raise click.UsageError(f"expected {place} in --template, got {template!r}")
    return None if prompts == "none" else template


def _setting(text: str | None) -> str:
    return "without text" if text is None else f"prompt: {text}"


def _say(line: str) -> None:
    click.echo(line, err=True)
