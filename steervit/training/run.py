"""A recipe from beginning to end: finds its data and weights, trains, or only says what it would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from steervit.modeling.model import SteerViT
from steervit.nano import windows as scene_supply
from steervit.processes import Processes, joined
from steervit.training.build import calibrate, count_model, prepare_model
from steervit.training.cost import matmul_peak, parameter_counts, step_flops
from steervit.training.data.batches import Supply
from steervit.training.data.index import default_folder
from steervit.training.data.supply import MixtureSupply, expressions, read_data, read_validation
from steervit.training.loop import Outcome, Trainer
from steervit.training.optim import set_trainable
from steervit.training.recipe import Recipe
from steervit.training.resume import NOTHING
from steervit.training.state import checkpoints

ASSUMED_SHARE = 0.4  # share of the machine's matrix-product peak that the estimate of hours assumes
CALIBRATION = 64  # images on which nano's fixed filters are scaled
CALIBRATION_CACHED = 256  # scenes, where their features are at hand


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
        if resume and processes.leads and not checkpoints(out / "state"):
            raise ValueError(NOTHING.format(out / "state"))
        quiet = say if processes.leads else lambda text: None
        trainer = _trainer(recipe, out, processes, text_cache, quiet)
        return trainer.run(resume)


def _trainer(
    recipe: Recipe, out: Path, processes: Processes, text_cache: Path | None, say: Callable[[str], None]
) -> Trainer:
    prepare = _on_images if recipe.data.windows is None else _on_windows
    # The leading process goes first: it may fetch weights, learn a vocabulary or draw scenes, and the others
    # find them.
    for turn in (True, False):
        if processes.leads == turn:
            model, supply = prepare(recipe, out, say)
        processes.wait()
    return Trainer(recipe, model, supply, out, processes, text_cache or out.parent / "text-features", say)


def _on_images(recipe: Recipe, out: Path, say: Callable[[str], None]) -> tuple[SteerViT, Supply]:
    training, validation = read_data(recipe, default_folder())
    for report in training.missing:
        say(str(report))
    model = prepare_model(recipe, out, lambda count: expressions(training, count))
    supply = MixtureSupply(recipe.data, training, validation, model, recipe.train.validate_samples)
    if _untrained(recipe):
        places = (divmod(number, recipe.train.batch) for number in range(CALIBRATION))
        embed = model.trunk.patch_embed
        calibrate(model, (embed.features(supply.training(*place).pixels[None])[0] for place in places))
    return model, supply


def _on_windows(recipe: Recipe, out: Path, say: Callable[[str], None]) -> tuple[SteerViT, Supply]:
    drawn = scene_supply.draw_scenes(recipe, default_folder())
    model = prepare_model(recipe, out, lambda count: scene_supply.expressions(drawn, count))
    scenes = scene_supply.read_scenes(recipe, drawn, model, default_folder())
    shares = ", ".join(f"{name}: {size:,} scenes" for name, size in scenes.sizes.items())
    say(f"{shares}; features in {default_folder() / 'features'}")
    if _untrained(recipe):
        calibrate(model, scene_supply.sample_features(scenes, CALIBRATION_CACHED))
    validation = read_validation(recipe, default_folder())
    samples = recipe.train.validate_samples
    return model, scene_supply.SceneSupply(recipe.data, scenes, validation, model, samples)


def _untrained(recipe: Recipe) -> bool:
    # A trunk that was trained before brings the scale of its filters with it.
    return recipe.model.trunk_weights == "random" and recipe.model.start is None


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
    windows = recipe.data.windows is not None
    try:
        training, validation = read_data(_undrawn(recipe), default_folder())
    except (ValueError, OSError) as error:
        return [f"data          cannot be counted: {error}"]
    lines = [
        f"data          {name}: {size:,} {'scenes' if windows else 'expressions'}, "
        f"{training.shares[name]:.1%} of the draws, {validation.sizes[name]:,} for validation"
        for name, size in training.sizes.items()
    ]
    drawn = recipe.train.steps * recipe.train.batch
    lines += [f"missing       {report}" for report in training.missing if not report.complete]
    return [*lines, f"epochs        {drawn / len(training):.2f} ({drawn:,} draws of {len(training):,})"]


def _undrawn(recipe: Recipe) -> Recipe:
    """The recipe with rendered scenes as they would be drawn on the fly: a dry run draws none."""
    one = {"sentences_per_scene": 1} if recipe.data.windows is not None else {}
    sources = {
        name: {**how, "stored": False, **one} if str(how.get("kind", name)) == "rendered" else how
        for name, how in recipe.data.sources.items()
    }
    return replace(recipe, data=replace(recipe.data, sources=sources))


def _hours(recipe: Recipe, model: SteerViT, device: str | None) -> list[str]:
    train = recipe.train
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    peak = matmul_peak(where, torch.bfloat16 if train.precision == "bf16" else torch.float32)
    windows = recipe.data.windows
    shape = {} if windows is None else {"patches": min(windows.side, model.grid_size[0]) ** 2,
                                        "sentences": windows.sentences}  # fmt: skip
    flops = step_flops(model, train.batch, train.trainable, **shape)
    hours = train.steps * flops / (ASSUMED_SHARE * peak) / 3600
    here = f"about {hours:,.1f}" if hours >= 0.1 else "less than 0.1"
    stated = f"{recipe.hours:g} on {recipe.hardware}, as the recipe says" if recipe.hours else recipe.duration
    return [
        f"steps         {train.steps:,} of {train.batch} images, {flops / 1e9:,.0f} GFLOP each",
        f"hours         {stated}",
        f"hours here    {here} on one {where.type}, if {ASSUMED_SHARE:.0%} of its "
        f"{peak / 1e9:,.0f} GFLOP/s are reached and the data come fast enough",
    ]
