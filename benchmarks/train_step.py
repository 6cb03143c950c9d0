"""Images per second of a training step, against a plain re-encoding loop, in the same run (random weights).

    python benchmarks/train_step.py [--recipe steervit-dinov2-base] [--repeats 5] [--device cuda] [--precision bf16]

The plain loop is what a first version of such training does: the text tower runs on every batch, every block
keeps its activations for the backward pass, nothing is cached. Ours takes text features from the cache and
keeps no graph before the first cross-attention. Reading and augmenting images is left out of both. The ways
take turns in every repeat, so that a busy machine slows them alike; figures are medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from steervit.training.cost import matmul_peak, step_flops
from steervit.training.engine import Trainer
from steervit.training.parts import new_model
from steervit.training.processes import Processes
from steervit.training.recipe import Recipe, load
from steervit.training.samples import Batch
from steervit.training.targets import segmentation_loss
from steervit.training.text_tower import roberta_config

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

    from steervit.text import TextEncoder
    from steervit.trunk import without_pooling

    torch.manual_seed(0)
    tower = RobertaModel(roberta_config(recipe.model), add_pooling_layer=False)
    model = new_model(recipe, TextEncoder(ByteTokenizer(), tower))
    without_pooling(model.trunk)
    for layer in model.cross_attention.values():
        if layer.gated:
            torch.nn.init.constant_(layer.attn_gate, 0.5)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return Trainer(recipe, model, NoSamples(), folder, Processes(torch.device(device)), None)


def random_batch(trainer: Trainer, size: int) -> Batch:
    """Noise with sentences of eight words."""
    side, grid = trainer.model.image_size[0], trainer.model.grid_size
    targets = (torch.rand(size, grid[0] * grid[1]) > 0.9).float()
    picks = torch.randint(len(WORDS), (size, 8)).tolist()
    texts = [" ".join(WORDS[word] for word in pick) for pick in picks]
    return Batch(torch.rand(size, 3, side, side), targets, targets, texts, ["noise"] * size)


def plain_step(trainer: Trainer, batch: Batch) -> None:
    """Text encoded now, all activations kept: images that ask for a gradient keep the whole graph."""
    device = trainer.processes.device
    pixels = batch.pixels.to(device).requires_grad_()
    with trainer._precision():
        logits = trainer.model(pixels, batch.texts, return_segmentation_logits=True)
    loss = segmentation_loss(logits, batch.targets.to(device))
    trainer.optimiser.zero_grad()
    loss.backward()
    learned = [p for p in trainer.model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(learned, trainer.settings.clip)
    trainer.optimiser.step()


def timed(function, device: str) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


@click.command()
@click.option("--recipe", "name", default="steervit-dinov2-base", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--batch", type=click.IntRange(1), help="Images per step.  [default: the recipe's]")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
def main(name: str, repeats: int, batch: int | None, device: str, precision: str) -> None:
    """Print a Markdown table of images per second and share of the matrix-product peak."""
    settings = [f"train.precision={precision}", *([f"train.batch={batch}"] if batch else [])]
    recipe = load(name, RECIPES, settings)
    with tempfile.TemporaryDirectory() as folder:
        seconds, flops = measure(recipe, Path(folder), device, repeats)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    peak = matmul_peak(torch.device(device), kind)
    size = recipe.train.batch
    where = f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}"
    print(f"{name}, batch {size}, {recipe.model.resolution} px, random weights, {precision}, {where}, "
          f"median of {repeats}\n")  # fmt: skip
    print("| way | images per s | speed-up | share of peak |\n|---|---|---|---|")
    plain = seconds["plain loop"]
    for way, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(plain, each, strict=True))
        mid = statistics.median(each)
        print(f"| {way} | {size / mid:.2f} | {ratio:.2f} | {flops / mid / peak:.0%} |")
    print(
        f"\n{flops / 1e9:,.0f} GFLOP per step as ours needs them; matrix-product peak {peak / 1e9:,.0f} GFLOP/s"
    )


def measure(recipe: Recipe, folder: Path, device: str, repeats: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each way in every repeat, and the operations that one of our steps needs."""
    trainer = random_trainer(recipe, folder, device)
    batch = random_batch(trainer, recipe.train.batch)
    ways = {
        "plain loop": lambda: plain_step(trainer, batch),
        "train, sentences cached": lambda: trainer._update(batch, 1e-4),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        timed(way, device)  # warm-up; fills the cache of sentences
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way, device))
    return seconds, step_flops(trainer.model, recipe.train.batch, recipe.train.trainable)


if __name__ == "__main__":
    main()
