"""`steer-anomaly eval probe | ade20k | refcocog`: what steered features are still good for."""

from __future__ import annotations

from typing import Any

import click

from anomaly.commands.steered_run import Benchmark, run, shared_options


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
