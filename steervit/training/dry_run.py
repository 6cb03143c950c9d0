"""What a recipe would do, said without doing it: parameters, data, floating-point operations, hours.

Letters: B samples, N image tokens, L text tokens, D trunk width, I inner width of cross-attention.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from steervit.modeling.model import SteerViT
from steervit.training.build import count_model
from steervit.training.data.index import default_folder
from steervit.training.data.supply import read_data
from steervit.training.optim import set_trainable
from steervit.training.recipe import Recipe

TEXT_TOKENS = 8  # of a typical expression, for estimates
ASSUMED_SHARE = 0.4  # share of the machine's matrix-product peak that the estimate of hours assumes


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
        name: {**config, "stored": False, **one} if str(config.get("kind", name)) == "rendered" else config
        for name, config in recipe.data.sources.items()
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


def parameter_counts(model: SteerViT) -> dict[str, int]:
    """Parameters by part: cross-attention, connector, head, trunk, text encoder."""
    parts = {
        "cross-attention": model.cross_attention,
        "connector": model.connector,
        "head": model.head,
        "trunk": model.trunk,
        "text encoder": model.text_encoder,
    }
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None
    }


def step_flops(
    model: SteerViT,
    batch: int,
    trainable: str,
    text_tokens: int = TEXT_TOKENS,
    patches: int | None = None,
    sentences: int = 1,
) -> float:
    """Multiply-adds x 2 that one update needs, forward and backward, text features taken from the cache.

    A frozen block costs its forward pass, and from the first steered block on as much again for the gradient
    of its input; a layer that learns costs a third pass, for its weights. Patch embedding, norms and a text
    tower that learns are left out. `patches` of an image are seen, by default all, and from the first steered
    block on once per sentence.
    """
    tokens = (patches or model.grid_size[0] * model.grid_size[1]) + model.trunk.num_prefix_tokens
    width, depth = model.feature_dim, len(model.trunk.blocks)
    mlp = model.trunk.blocks[0].mlp.fc1.out_features
    block = 2 * tokens * (4 * width**2 + 2 * width * mlp) + 4 * tokens**2 * width
    first = min(min(map(int, model.cross_attention)), depth)
    before, after = (3, 3) if trainable in ("steering+trunk", "all") else (1, 2)
    blocks = (before * first + after * sentences * (depth - first)) * block
    steering = sum(
        _layer_flops(layer, tokens, width, text_tokens) for layer in model.cross_attention.values()
    )
    return batch * (blocks + 3 * sentences * steering)


def _layer_flops(layer, tokens: int, width: int, text_tokens: int) -> float:
    inner = layer.cross_attn.to_q.out_features
    attention = 2 * (
        2 * tokens * width * inner + 2 * text_tokens * width * inner + 2 * tokens * text_tokens * inner
    )
    ffn = 0 if layer.ff is None else 4 * tokens * width * layer.ff[1].out_features
    return attention + ffn


def matmul_peak(device: torch.device, dtype: torch.dtype, size: int | None = None, tries: int = 4) -> float:
    """Best rate of a square matrix product here, in FLOP/s."""
    size = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
