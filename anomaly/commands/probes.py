"""`steer-anomaly eval probe | ade20k | refcocog`: what steered features are still good for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomaly.commands.extras import need
from anomaly.commands.steered_run import Benchmark, Say, run, shared_options

if TYPE_CHECKING:
    from anomaly.steerability.steered import Steered


@click.command("probe")
@shared_options
@click.option("--prompts", type=click.Choice(["object", "none"]), default="object", show_default=True,
              help="The dog, the bird, the car; or no text at all.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=300, show_default=True, help="Of the classifier.")
@click.option("--rate", default=1e-3, show_default=True, help="Learning rate.")
@click.option("--batch", type=click.IntRange(1), default=128, show_default=True, help="Pictures a step.")
@click.option("--optimiser", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True,
              help="Not published; sgd has momentum 0.9.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of first weights and the order of pictures.")
def probe(
    prompts: str, epochs: int, rate: float, batch: int, optimiser: str, seed: int, **shared: Any
) -> None:
    """Linear probe on ImageWoof, Waterbirds and StanfordCars, whichever lie in ROOT.

    \b
    Example:
      steer-anomaly eval probe --root data/probe --omega 0,0.2,...,1
    """
    from anomaly.steerability import probe as benchmark

    sets = benchmark.load(shared["root"])
    settings = benchmark.ProbeSettings(epochs, rate, batch, optimiser, seed)
    text = prompts == "object"
    asked = "the object of the set as prompt" if text else "without text"
    run(
        Benchmark(
            "probe",
            f"{asked}; {optimiser}, {epochs} epochs",
            benchmark.gaps(sets),
            lambda steered, say: benchmark.evaluate(sets, steered, text, settings, say),
            vars(settings),
            "" if text else "without-text",
        ),
        shared,
    )


@click.command("ade20k")
@shared_options
@click.option(
    "--task",
    type=click.Choice(["binary", "classes"]),
    default="binary",
    show_default=True,
    help="One class against the rest, as the paper; or all 151 at once, without text, as open-hummingbird.",
)
@click.option("--template", default="the {object}", show_default=True, help="The sentence made of a class.")
@click.option(
    "--prompts",
    type=click.Choice(["object", "none"]),
    default="object",
    show_default=True,
    help="The class that is asked for, or no text at all.",
)
@click.option(
    "--memory", type=click.IntRange(1), default=102_400, show_default=True, help="Patches in the memory."
)
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Training pictures for each class of the binary task, 0 for all that show it.",
)
@click.option(
    "-k", "--neighbours", type=click.IntRange(1), default=30, show_default=True, help="Neighbours asked."
)
@click.option(
    "--beta",
    type=click.FloatRange(0, min_open=True),
    default=0.02,
    show_default=True,
    help="Temperature of the neighbours' weights.",
)
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="Crop and colour training pictures."
)
@click.option("--std-typo", is_flag=True, help="Normalise blue by 0.255 as open-hummingbird does, not 0.225.")
@click.option("--seed", default=0, show_default=True, help="Of the memory's draws.")  # fmt: skip
def ade20k(
    task: str,
    template: str,
    prompts: str,
    memory: int,
    pictures: int,
    neighbours: int,
    beta: float,
    augment: bool,
    std_typo: bool,
    seed: int,
    **shared: Any,
) -> None:
    """ADE20k by neighbours in a memory of patches: one class against the rest, or all at once.

    \b
    Example:
      steer-anomaly eval ade20k --root data/ADEChallengeData2016 --task classes
    """
    import torch

    from anomaly.steerability import ade20k as benchmark

    if "{object}" not in template:
        raise click.UsageError(f"expected {{object}} in --template, got {template!r}")
    scenes = benchmark.load(shared["root"])
    settings = benchmark.MemorySettings(memory, pictures, neighbours, beta, augment, std_typo, seed)
    text = template if prompts == "object" and task == "binary" else None
    device = shared["device"] or ("cuda" if torch.cuda.is_available() else "cpu")

    def evaluate(steered: Steered, say: Say) -> dict[str, Any]:
        if task == "classes":
            return benchmark.evaluate_classes(scenes, steered, settings, device, say)
        return benchmark.evaluate_binary(scenes, steered, text, settings, device, say)

    asked = f"{task}, {f'prompt: {text}' if text else 'without text'}"
    label = f"{task}{'' if text or task == 'classes' else '-without-text'}"
    how = {"task": task, **vars(settings)}
    run(Benchmark("ade20k", asked, benchmark.gaps(scenes), evaluate, how, label), shared)


@click.command("refcocog")
@shared_options
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder with COCO's train2014.  [default: below ROOT]"
)
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Of UMD's split.",
)
@click.option("--level", default=0.5, show_default=True, help="Where a map scaled to 0..1 is cut.")
@click.option("--prompts", type=click.Choice(["sentence", "none"]), default="sentence", show_default=True,
              help="The sentence, or no text at all.")  # fmt: skip
def refcocog(images: Path | None, split: str, level: float, prompts: str, **shared: Any) -> None:
    """RefCOCOg: the model's own map of what a sentence points out. Needs `steer-anomaly[train]`.

    \b
    Example:
      steer-anomaly eval refcocog --root data/refer --images data/coco
    """
    need("train", "eval refcocog, which reads training sources,")
    from anomaly.steerability import refcocog as benchmark

    sentences, gaps = benchmark.load(shared["root"], images, split)
    text = prompts == "sentence"
    asked = f"{split}, {'the sentence as prompt' if text else 'without text'}"
    label = "-".join([split, *([] if text else ["without-text"])])

    def evaluate(steered: Steered, say: Say) -> dict[str, Any]:
        return benchmark.evaluate(sentences, steered, text, level, say)

    run(Benchmark("refcocog", asked, gaps, evaluate, {"level": level}, label), shared)
