"""Trains `nano`, the embedded model: a small SteerViT learned from rendered scenes.

A departure from the paper that the model card states: trunk and text tower are too small to come from
anywhere, so they are trained together with the steering layers and frozen afterwards.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steervit.loading import build, trained_state
from steervit.model import SteerViT
from steervit.text import TextEncoder
from steervit.training.feature_cache import SceneData
from steervit.training.targets import pmass, presence_loss, segmentation_loss
from steervit.trunk import without_pooling


@dataclass(frozen=True)
class NanoRecipe:
    """Sizes and schedule. `window` is the side, in patches, of the token windows that a step trains on.

    `feature_dropout` is the share of patch features silenced per scene; `averaging` the decay of the moving
    average of the weights, which is what is kept.
    """

    image_size: int = 256
    patch: int = 8
    width: int = 96
    depth: int = 4
    heads: int = 3
    mlp_ratio: float = 3.0
    cross_attn_layers: tuple[int, ...] = (2, 3)
    cross_attn_heads: int = 4
    cross_attn_head_dim: int = 24
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 2048
    steps: int = 2600
    batch: int = 16
    sentences: int = 2
    window: int = 16
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    presence: float = 4.0
    feature_dropout: float = 0.1
    averaging: float = 0.998
    seed: int = 0

    def config(self) -> dict:
        """The checkpoint config of the model, in the published form plus what nano's parts need."""
        trunk = {"patch_size": self.patch, "width": self.width, "depth": self.depth, "heads": self.heads}
        return {
            "name": "nano",
            "vision_encoder": {
                "model_name": "steervit_nano",
                "resolution": self.image_size,
                "trunk": {**trunk, "mlp_ratio": self.mlp_ratio},
                "feature_aggregation": "cls",
                "cross_attn_layers": list(self.cross_attn_layers),
                "cross_attn_heads": self.cross_attn_heads,
                "cross_attn_head_dim": self.cross_attn_head_dim,
                "use_ffn": False,
                "cross_attn_ffn_mult": 2,
            },
            "text_encoder": "text",
        }


def train_tokenizer(texts: list[str], folder: Path, vocabulary: int) -> None:
    """Learn a byte-level BPE vocabulary on `texts` and write it in RoBERTa's layout: any string encodes."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=3, special_tokens=special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))


def new_text_encoder(recipe: NanoRecipe, folder: Path) -> TextEncoder:
    """An untrained RoBERTa of the recipe's size over the vocabulary in `folder`."""
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    tokenizer = RobertaTokenizer.from_pretrained(str(folder))
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=recipe.text_heads,
        intermediate_size=2 * recipe.text_width,
        max_position_embeddings=130,
        type_vocab_size=1,
    )
    return TextEncoder(tokenizer, RobertaModel(config, add_pooling_layer=False))


def new_model(recipe: NanoRecipe, text: TextEncoder) -> SteerViT:
    """An untrained nano with every part trainable; gates open a little so that text matters from the start."""
    model = build(recipe.config(), text)
    without_pooling(model.trunk)
    model.requires_grad_(True)
    nn.init.normal_(model.head.weight, std=0.02)
    nn.init.constant_(model.head.bias, -3.0)
    for layer in model.cross_attention.values():
        nn.init.constant_(layer.attn_gate, 0.5)
    return model


class WindowBatches:
    """Draws batches: scenes, a few sentences each, and the same random window of patches for all of them."""

    def __init__(self, data: SceneData, recipe: NanoRecipe) -> None:
        self.data, self.recipe = data, recipe
        self.random = np.random.default_rng(recipe.seed)
        self.by_scene = data.sentences_of()
        self.grid = math.isqrt(data.features.shape[1])
        self.mean = data.features[:: max(1, len(data.features) // 500)].float().mean((0, 1))

    def draw(self) -> tuple[Tensor, list[str], Tensor, Tensor]:
        """features (B, W*W, F), texts (B*T), targets (B*T, W*W) in 0..1, window indices (W*W)."""
        scenes = self.random.integers(len(self.by_scene), size=self.recipe.batch)
        flips = self.random.random((len(scenes), 2)) < 0.5
        chosen = np.concatenate(
            [self._sentences(self.by_scene[s], bool(f.any())) for s, f in zip(scenes, flips, strict=True)]
        )
        side = min(self.recipe.window, self.grid)
        y, x = self.random.integers(self.grid - side + 1, size=2)
        index = torch.arange(self.grid**2).view(self.grid, self.grid)[y : y + side, x : x + side].flatten()
        features = self.data.features[torch.from_numpy(scenes)][:, index].float()
        keep = self.random.random((len(scenes), 1, features.shape[-1])) >= self.recipe.feature_dropout
        features = torch.where(torch.from_numpy(keep), features, self.mean)
        targets = self.data.targets[torch.from_numpy(chosen)][:, index].float() / 255
        for i, axes in enumerate(flips):
            rows = slice(i * self.recipe.sentences, (i + 1) * self.recipe.sentences)
            features[i], targets[rows] = _flip(features[i], axes, side), _flip(targets[rows].T, axes, side).T
        return features, [self.data.texts[i] for i in chosen], targets, index

    def _sentences(self, candidates: np.ndarray, flipped: bool) -> np.ndarray:
        # One sentence always asks for all defects; the others are anything else the scene can be asked. The
        # filters see no direction, so a flipped grid is a flipped image; "on the left" would then be wrong.
        kinds = self.data.kinds[candidates]
        everything = candidates[kinds == "all"]
        rest = candidates[(kinds != "all") & ~(flipped & (kinds == "position"))]
        first = self.random.choice(everything, 1)
        more = self.recipe.sentences - 1
        return np.concatenate([first, self.random.choice(rest if len(rest) else everything, more)])


def _flip(rows: Tensor, axes: np.ndarray, side: int) -> Tensor:
    """Mirror a square window of patches, (side*side, C), along y and x where `axes` says so."""
    dims = [d for d in (0, 1) if axes[d]]
    return rows.unflatten(0, (side, side)).flip(dims).flatten(0, 1) if dims else rows


def window_logits(
    model: SteerViT, features: Tensor, texts: list[str], index: Tensor, sentences: int
) -> Tensor:
    """Cached features (B, n, F) of the patches `index`, with B x `sentences` texts -> logits (B*sentences, n).

    The same blocks and layers as `SteerViT.encode`, entered after the fixed filters; the blocks before the
    first cross-attention run once per scene.
    """
    text, mask = text_features(model, texts)
    trunk: Any = model.trunk
    x = trunk.patch_embed.project(features) + trunk.pos_embed[:, 1 + index]
    first = (trunk.cls_token + trunk.pos_embed[:, :1]).expand(len(x), -1, -1)
    x, expanded = torch.cat([first, x], 1), False
    for i, block in enumerate(trunk.blocks):
        if str(i) in model.cross_attention:
            x = x if expanded else x.repeat_interleave(sentences, 0)
            expanded = True
            x = model.cross_attention[str(i)](x, text, mask)
        x = block(x)
    return model.segment_tokens(trunk.norm(x))


def text_features(model: SteerViT, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As `SteerViT.encode_text`, with gradients through the text tower; equal sentences are encoded once."""
    unique = sorted(set(texts))
    encoder: Any = model.text_encoder
    tokens = encoder.tokenizer(unique, padding=True, return_tensors="pt")
    hidden = encoder.model(**{k: tokens[k] for k in ("input_ids", "attention_mask")}).last_hidden_state
    text = model.connector(nn.functional.normalize(hidden, dim=-1))
    order = torch.tensor([unique.index(sentence) for sentence in texts])
    return text[order], tokens["attention_mask"].bool()[order]


def learning_rate(step: int, recipe: NanoRecipe) -> float:
    """Linear warm-up, then cosine to a hundredth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def calibrate_features(model: SteerViT, data: SceneData) -> None:
    """Measure mean and standard deviation of every patch feature once, on a sample of scenes."""
    sample = data.features[:: max(1, len(data.features) // 500)].float().flatten(0, 1)
    model.trunk.patch_embed.mean.copy_(sample.mean(0))
    model.trunk.patch_embed.std.copy_(sample.std(0) + 1e-3)


def train_nano(
    data: SceneData,
    out: Path,
    recipe: NanoRecipe,
    log_every: int = 50,
    save_every: int = 500,
    stop_at: int | None = None,
) -> SteerViT:
    """Train from cached scenes, write checkpoints to `out`, and return the model in eval mode.

    `stop_at` ends a session at that step of the schedule, to be continued. Continues from `out/last.pt` when it
    is there. `out/log.jsonl` holds loss and pmass by step.
    """
    torch.manual_seed(recipe.seed)
    if not (out / "text" / "vocab.json").exists():
        train_tokenizer(data.texts, out / "text", recipe.vocabulary)
    model = new_model(recipe, new_text_encoder(recipe, out / "text"))
    calibrate_features(model, data)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    batches, start = WindowBatches(data, recipe), 0
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.averaging), use_buffers=False
    )
    if (out / "last.pt").exists():
        start = _resume(out / "last.pt", model, average, optimiser, batches)
    began = time.time()
    running: list[tuple[float, float]] = []
    for step in range(start, min(recipe.steps, stop_at or recipe.steps)):
        running.append(_step(model, optimiser, batches, recipe, step))
        average.update_parameters(model)
        if (step + 1) % log_every == 0:
            loss, mass = np.nanmean(np.array(running), axis=0)
            running = []
            rate = (step + 1 - start) * recipe.batch / (time.time() - began)
            line = {"step": step + 1, "loss": float(loss), "pmass": float(mass), "scenes_per_s": rate}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if (step + 1) % save_every == 0 or step + 1 == recipe.steps:
            _save(out / "last.pt", model, average, optimiser, batches, step + 1)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
    average.module.eval().requires_grad_(False)
    return average.module  # type: ignore[return-value]  # AveragedModel does not say what it wraps


def _step(
    model: SteerViT, optimiser: torch.optim.Optimizer, batches: WindowBatches, recipe: NanoRecipe, step: int
) -> tuple[float, float]:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, recipe)
    features, texts, targets, index = batches.draw()
    logits = window_logits(model, features, texts, index, recipe.sentences)
    loss = segmentation_loss(logits, targets) + recipe.presence * presence_loss(logits, targets)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()), float(pmass(logits.detach(), targets).nanmean())


def _save(path: Path, model: SteerViT, average, optimiser, batches: WindowBatches, step: int) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": json.dumps(batches.random.bit_generator.state),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path: Path, model: SteerViT, average, optimiser, batches: WindowBatches) -> int:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    batches.random.bit_generator.state = json.loads(state["random"])
    return state["step"]


def export(model: SteerViT, folder: Path) -> None:
    """Write `model` as a folder that `SteerViT.from_pretrained` loads; weights are kept in float16."""
    from safetensors.torch import save_file

    from steervit.checkpoint import Checkpoint, write_safetensors

    half = {name: tensor.half() for name, tensor in trained_state(model).items()}
    write_safetensors(folder, Checkpoint(model.config, half))
    trunk = {name: tensor.half().contiguous() for name, tensor in model.trunk.state_dict().items()}
    save_file(trunk, folder / "trunk.safetensors")
    text: Any = model.text_encoder
    text.model.half().save_pretrained(folder / "text")
    text.tokenizer.save_pretrained(folder / "text")
