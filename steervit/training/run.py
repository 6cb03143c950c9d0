"""A recipe from beginning to end: finds its data and weights, trains, or only says what it would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from steervit.model import SteerViT
from steervit.training.cost import matmul_peak, parameter_counts, step_flops
from steervit.training.engine import Outcome, Trainer
from steervit.training.index import default_folder
from steervit.training.mixture import Mixture
from steervit.training.optim import set_trainable
from steervit.training.parts import calibrate, count_model, prepare_model
from steervit.training.processes import Processes, joined
from steervit.training.recipe import Recipe
from steervit.training.supply import MixtureSupply, expressions, read_data

ASSUMED_SHARE = 0.4  # share of the machine's matrix-product peak that the estimate of hours assumes
CALIBRATION = 64  # images on which nano's fixed filters are scaled


def train(
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    device: str | None = None,
    text_cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Train `recipe` into the folder `out`, in this process or in all that torchrun has started.

    Raises ValueError or OSError that say what is missing, before anything is written; or when `out` already
    holds a run and `resume` is False.
    """
    if not resume and (out / "state").is_dir() and any((out / "state").iterdir()):
        raise ValueError(f"{out} holds a run already: go on with it by --resume, or choose another --out")
    with joined(device) as processes:
        quiet = say if processes.leads else lambda text: None
        trainer = _trainer(recipe, out, processes, text_cache, quiet)
        return trainer.run(resume)


def _trainer(
    recipe: Recipe, out: Path, processes: Processes, text_cache: Path | None, say: Callable[[str], None]
) -> Trainer:
    training, validation = read_data(recipe, default_folder())
    for report in training.missing:
        say(str(report))
    model = _model(recipe, out, processes, training)
    supply = MixtureSupply(recipe.data, training, validation, model, recipe.train.validate_samples)
    if recipe.model.trunk_weights == "random":
        places = (divmod(number, recipe.train.batch) for number in range(CALIBRATION))
        calibrate(model, (supply.training(*place).pixels for place in places))
    return Trainer(recipe, model, supply, out, processes, text_cache or out.parent / "text-features", say)


def _model(recipe: Recipe, out: Path, processes: Processes, training: Mixture) -> SteerViT:
    # The leading process goes first: it may fetch weights or learn a vocabulary, and the others find them.
    for turn in (True, False):
        if processes.leads == turn:
            model = prepare_model(recipe, out, lambda count: expressions(training, count))
        processes.wait()
    return model


def dry_run(recipe: Recipe, device: str | None = None) -> str:
    """What `train` would do: the resolved recipe, parameters, data, steps and hours. Writes nothing."""
    model = count_model(recipe)
    lines = [recipe.to_yaml(), *_parameters(recipe, model), *_data(recipe), *_hours(recipe, model, device)]
    return "\n".join(lines)


def _parameters(recipe: Recipe, model: SteerViT) -> list[str]:
    set_trainable(model, recipe.train.trainable)
    counts = parameter_counts(model)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return [
        f"trainable     {learned:,} parameters",
        f"frozen        {sum(counts.values()) - learned:,} parameters",
        f"parts         {parts}",
    ]


def _data(recipe: Recipe) -> list[str]:
    try:
        training, validation = read_data(recipe, default_folder())
    except (ValueError, OSError) as error:
        return [f"data          cannot be counted: {error}"]
    lines = [
        f"data          {name}: {size:,} expressions, {training.shares[name]:.1%} of the draws, "
        f"{validation.sizes[name]:,} for validation"
        for name, size in training.sizes.items()
    ]
    drawn = recipe.train.steps * recipe.train.batch
    lines += [f"missing       {report}" for report in training.missing if not report.complete]
    return [*lines, f"epochs        {drawn / len(training):.2f} ({drawn:,} draws of {len(training):,})"]


def _hours(recipe: Recipe, model: SteerViT, device: str | None) -> list[str]:
    train = recipe.train
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    peak = matmul_peak(where, torch.bfloat16 if train.precision == "bf16" else torch.float32)
    flops = step_flops(model, train.batch, train.trainable)
    hours = train.steps * flops / (ASSUMED_SHARE * peak) / 3600
    stated = f"{recipe.hours:g} on {recipe.hardware}, as the recipe says" if recipe.hours else recipe.duration
    return [
        f"steps         {train.steps:,} of {train.batch} images, {flops / 1e9:,.0f} GFLOP each",
        f"hours         {stated}",
        f"hours here    about {hours:,.1f} on one {where.type}, if {ASSUMED_SHARE:.0%} of its "
        f"{peak / 1e9:,.0f} GFLOP/s are reached and the data come fast enough",
    ]
