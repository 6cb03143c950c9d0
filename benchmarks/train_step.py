"""Samples per second of a training step, against a plain re-encoding loop, in the same run (random weights).

    python benchmarks/train_step.py [--recipe steervit-dinov2-base] [--repeats 5] [--device cuda] [--precision bf16]

A sample is an image with a sentence. The plain loop is what a first version of such training does: every
sentence is encoded in every step, every image once per sentence and whole, every block keeps its activations for
the backward pass, nothing is cached. Ours does as the recipe says: for the paper's, text features come from the
cache and no graph is kept before the first cross-attention; for nano, features of the fixed filters come from the
cache, steps see windows of them, and sentences share the blocks before the first cross-attention. Reading and
augmenting is left out of both. The ways take turns in every repeat, so that a busy machine slows them alike;
figures are medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from steervit.nano.window_settings import WindowSettings
from steervit.processes import Processes
from steervit.training.build import new_model, roberta_config
from steervit.training.data.batches import Batch
from steervit.training.dry_run import matmul_peak, step_flops
from steervit.training.loop import Trainer
from steervit.training.losses import presence_loss, segmentation_loss
from steervit.training.recipe import Recipe, load

RECIPES = Path(__file__).parent.parent / "train"
WORDS = (
    "the",
    "a",
    "small",
    "large",
    "red",
    "blue",
    "man",
    "dog",
    "car",
    "left",
    "tall",
    "white",
    "table",
    "with",
)


class ByteTokenizer:
    """About ten tokens for a sentence, as RoBERTa's own vocabulary gives; the ids mean nothing."""

    def __call__(self, texts, padding=True, truncation=True, max_length=512, return_tensors="pt"):
        rows = [[0, *(3 + sum(word.encode()) % 250 for word in text.split()), 2] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != 1).long()}


class NoSamples:
    """A supply for a trainer whose steps are called one by one."""

    validation_sources: tuple[str, ...] = ()


def random_trainer(recipe: Recipe, folder: Path, device: str) -> Trainer:
    """A trainer with the recipe's shapes and random weights: gates open, so that text matters."""
    from transformers import RobertaModel

    from steervit.modeling.text import TextEncoder
    from steervit.modeling.trunk import without_pooling

    torch.manual_seed(0)
    tower = RobertaModel(roberta_config(recipe.model), add_pooling_layer=False)
    model = new_model(recipe, TextEncoder(ByteTokenizer(), tower))
    without_pooling(model.trunk)
    for layer in model.cross_attention.values():
        if layer.gated:
            torch.nn.init.constant_(layer.attn_gate, 0.5)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return Trainer(recipe, model, NoSamples(), folder, Processes(device=device), None)


@dataclass(frozen=True)
class Way:
    """One way to make a step: samples and floating-point operations of it, and the step itself."""

    samples: int
    flops: float
    step: Callable[[], None]


def sentences(count: int) -> list[str]:
    """So many, of eight words each."""
    picks = torch.randint(len(WORDS), (count, 8)).tolist()
    return [" ".join(WORDS[word] for word in pick) for pick in picks]


def whole_images(trainer: Trainer, samples: int) -> Batch:
    """Noise, a sentence each."""
    side, grid = trainer.model.image_size[0], trainer.model.grid_size
    targets = (torch.rand(samples, grid[0] * grid[1]) > 0.9).float()
    pixels = torch.rand(samples, 3, side, side)
    return Batch(pixels, targets, targets, sentences(samples), ["noise"] * samples)


def windows(trainer: Trainer, size: int, settings: WindowSettings) -> Batch:
    """Noise in place of the cached features of windows, the same window of every scene."""
    samples, grid = size * settings.sentences, trainer.model.grid_size[0]
    side = min(settings.side, grid)
    patches = torch.arange(grid**2).view(grid, grid)[:side, :side].flatten().expand(size, -1)
    features = torch.randn(size, side**2, len(trainer.model.trunk.patch_embed.mean))
    targets = (torch.rand(samples, side**2) > 0.9).float()
    return Batch(features, targets, targets, sentences(samples), ["noise"] * samples, patches)


def plain_step(trainer: Trainer, batch: Batch) -> None:
    """Text encoded now, all activations kept: images that ask for a gradient keep the whole graph."""
    device = trainer.device
    pixels = batch.pixels.to(device).requires_grad_()
    with trainer.forward.precision():
        if trainer.settings.trainable == "all":
            logits = trainer.forward.output(batch).logits
        else:
            logits = trainer.model(pixels, batch.texts, return_segmentation_logits=True)
    targets = batch.targets.to(device)
    loss = segmentation_loss(logits, targets)
    if trainer.settings.presence:
        loss = loss + trainer.settings.presence * presence_loss(logits, targets)
    trainer.optimiser.zero_grad()
    loss.backward()
    learned = [p for p in trainer.model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(learned, trainer.settings.clip)
    trainer.optimiser.step()


def both_ways(trainer: Trainer) -> dict[str, Way]:
    """The plain loop and the recipe's own step, on noise."""
    size, learn, windowed = trainer.settings.batch, trainer.settings.trainable, trainer.recipe.data.windows
    samples = size * (windowed.sentences if windowed else 1)
    images = whole_images(trainer, samples)
    whole = step_flops(trainer.model, samples, learn)
    ways = {"plain loop": Way(samples, whole, lambda: plain_step(trainer, images))}
    if windowed is None:
        ways["train, sentences cached"] = Way(samples, whole, lambda: trainer._update(images, 1e-4))
        return ways
    seen = windows(trainer, size, windowed)
    flops = step_flops(
        trainer.model, size, learn, patches=seen.patches.shape[1], sentences=windowed.sentences
    )
    return ways | {
        "train, windows of cached features": Way(samples, flops, lambda: trainer._update(seen, 1e-4))
    }


def timed(function: Callable[[], None], device: torch.device) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


@click.command()
@click.option("--recipe", "name", default="steervit-dinov2-base", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: the recipe's]")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def main(name: str, repeats: int, batch: int | None, device: str, precision: str) -> None:
    """Print a Markdown table of samples per second and share of the matrix-product peak."""
    settings = [f"train.precision={precision}", *([f"train.batch={batch}"] if batch else [])]
    recipe = load(name, RECIPES, settings)
    with tempfile.TemporaryDirectory() as folder:
        ways = both_ways(random_trainer(recipe, Path(folder), device))
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        seconds, peak = measure(ways, torch.device(device), kind, repeats)
    where = f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}"
    print(f"{name}, batch {recipe.train.batch}, {recipe.model.resolution} px, random weights, {precision}, {where}, "
          f"median of {repeats}; matrix-product peak {peak / 1e9:,.0f} GFLOP/s\n")  # fmt: skip
    print("| way | samples per s | speed-up | GFLOP per step | share of peak |\n|---|---|---|---|---|")
    plain = seconds["plain loop"]
    for way, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(plain, each, strict=True))
        mid, one = statistics.median(each), ways[way]
        print(f"| {way} | {one.samples / mid:.2f} | {ratio:.2f} | {one.flops / 1e9:,.1f} | "
              f"{one.flops / mid / peak:.0%} |")  # fmt: skip


def measure(
    ways: dict[str, Way], device: torch.device, kind: torch.dtype, repeats: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each way in every repeat, and the best rate of a matrix product between them, in FLOP/s.

    The first step of each way, which fills caches, is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peak = 0.0
    for way in ways.values():
        timed(way.step, device)
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way.step, device))
        peak = max(peak, matmul_peak(device, kind))
    return seconds, peak


if __name__ == "__main__":
    main()
