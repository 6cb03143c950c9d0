"""A recipe from beginning to end: finds its data and weights, and trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steervit.modeling.model import SteerViT
from steervit.nano import windows
from steervit.processes import Processes, joined
from steervit.training.build import prepare_model
from steervit.training.data.batches import Supply
from steervit.training.data.index import default_folder
from steervit.training.data.supply import MixtureSupply, expressions, read_data, read_validation
from steervit.training.loop import Outcome, Trainer
from steervit.training.recipe import Recipe
from steervit.training.state import NOTHING, checkpoints

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
        raise ValueError(f"{out} holds a run already: resume it, or choose another folder")
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
    places = (divmod(number, recipe.train.batch) for number in range(CALIBRATION))
    embed = model.trunk.patch_embed
    windows.calibrate(model, (embed.features(supply.training(*place).pixels[None])[0] for place in places))
    return model, supply


def _on_windows(recipe: Recipe, out: Path, say: Callable[[str], None]) -> tuple[SteerViT, Supply]:
    drawn = windows.draw_scenes(recipe, default_folder())
    model = prepare_model(recipe, out, lambda count: windows.expressions(drawn, count))
    scenes = windows.read_scenes(recipe, drawn, model, default_folder())
    shares = ", ".join(f"{name}: {size:,} scenes" for name, size in scenes.sizes.items())
    say(f"{shares}; features in {default_folder() / 'features'}")
    windows.calibrate(model, windows.sample_features(scenes, CALIBRATION_CACHED))
    validation = read_validation(recipe, default_folder())
    samples = recipe.train.validate_samples
    return model, windows.SceneSupply(recipe.data, scenes, validation, model, samples)
