"""`steer-anomaly eval core | genecis | pods | mosaic`, and where `eval` finds these and the probes' commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anomaly.commands.baselines import list_methods
from anomaly.commands.extras import need
from anomaly.commands.probes import ade20k, probe, refcocog
from anomaly.commands.sections import SectionedCommand
from anomaly.commands.steered_run import Benchmark, run, shared_options


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
    label = "random-prompts" if random_prompts else _label(texts)
    run(
        Benchmark(
            "core",
            setting,
            benchmark.gaps(rows),
            lambda steered, say: benchmark.evaluate(rows, steered, texts, k, say),
            {"k": k},
            label,
        ),
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
    run(
        Benchmark(
            "genecis",
            _setting(text),
            benchmark.gaps(questions),
            lambda steered, say: benchmark.evaluate(questions, steered, text, say),
            label=_label(text),
        ),
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
    run(
        Benchmark(
            "pods",
            f"prompts: {Path(prompts).name}",
            benchmark.gaps(objects),
            lambda steered, say: benchmark.evaluate(objects, steered, texts, say),
            {"sentences": texts},
            "" if prompts == "coarse" else Path(prompts).stem,
        ),
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
    run(
        Benchmark(
            "mosaic",
            f"{_setting(text)}; mosaics of our own draw",
            benchmark.gaps(mosaics),
            lambda steered, say: benchmark.evaluate(mosaics, steered, text, say),
            label=_label(text),
        ),
        shared,
    )


STEERED: dict[str, click.Command] = {
    "core": core, "genecis": genecis, "pods": pods, "mosaic": mosaic,
    "probe": probe, "ade20k": ade20k, "refcocog": refcocog,
}  # fmt: skip


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
        list_methods(formatter)


def _template(template: str, place: str, prompts: str) -> str | None:
    if place not in template:
        raise click.UsageError(f"expected {place} in --template, got {template!r}")
    return None if prompts == "none" else template


def _setting(text: str | None) -> str:
    return "without text" if text is None else f"prompt: {text}"


def _label(texts: object) -> str:
    return "" if texts is not None else "without-text"
