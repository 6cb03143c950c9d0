"""One step's forward pass: a batch in, logits and their loss out, gradients only where something learns.

The same blocks and layers as `SteerViT.encode_with`. What lies before the first trainable layer runs without
a gradient graph, so its activations are freed at once; later blocks can be recomputed instead of kept.
Letters: B samples, L text tokens, N image tokens, D trunk width.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steervit.modeling.model import SteerViT
from steervit.modeling.trunk import embed
from steervit.training.data.batches import Batch
from steervit.training.losses import (
    kinds_loss,
    naming_loss,
    overlap_loss,
    presence_loss,
    segmentation_loss,
    shown_loss,
)
from steervit.training.recipe import TrainSettings
from steervit.training.text_cache import TextCache


class Output(NamedTuple):
    """logits (B*T, n) of patches for their image's sentences; which of K kinds of things each patch shows (B, n, K),
    and which each sentence names (B, T, K)."""

    logits: Tensor
    kinds: Tensor | None = None
    named: Tensor | None = None


class SteeringStep(nn.Module):
    """A SteerViT as it is trained. DistributedDataParallel wraps this module, so forward is all it does.

    With `kinds`, one linear layer tells from the trunk's last tokens what kind of thing a patch shows, and from the
    mean of its text tokens what a sentence names; it teaches both the same words and is not kept. Raises ValueError
    when text enters before the last block: such tokens have no one answer.
    """

    def __init__(self, model: SteerViT, checkpoint_activations: bool = False, kinds: int = 0) -> None:
        super().__init__()
        self.model, self.checkpoint_activations = model, checkpoint_activations
        self.kinds = nn.Linear(model.feature_dim, kinds) if kinds else None
        if kinds and len(model.late_layers()) < len(model.cross_attention):
            raise ValueError(
                "train.kinds needs model.fusion: late, so that tokens before it know no sentence"
            )

    def forward(self, images: Tensor, text: Tensor, mask: Tensor, patches: Tensor | None = None) -> Output:
        """images (B, 3, S, S), mask (B*T, L) bool, and text: unit-length token features (B*T, L, d_t), or
        token ids (B*T, L) when the text tower learns too -> logits (B*T, h*w).

        With `patches` (B, n), images are the fixed features (B, n, F) of those patches, and logits (B*T, n).
        Each image has T sentences; blocks before the first cross-attention run once for all of them.
        """
        model: Any = self.model
        features = text if text.is_floating_point() else self._encode(text, mask)
        text = model.connector(features)
        first = self._first_learning_block()
        x = self._frozen_prefix(images, first, patches)
        for i, block in enumerate(model.trunk.blocks[first:], first):
            x = self._maybe_kept(i, block, x, text, mask)
        kinds = named = None
        if self.kinds is not None:
            kinds = self.kinds(model.trunk.norm(x)[:, model.trunk.num_prefix_tokens :])
            mean = (text * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            named = self.kinds(mean).unflatten(0, (len(images), -1))
        for layer in model.late_layers().values():
            x = layer(_for_each(x, text), text, mask)
        return Output(model.segment_tokens(model.trunk.norm(x)), kinds, named)

    def _first_learning_block(self) -> int:
        if any(parameter.requires_grad for parameter in self.model.trunk.parameters()):
            return 0
        return min(min(map(int, self.model.cross_attention)), len(self.model.trunk.blocks))

    def _frozen_prefix(self, images: Tensor, first: int, patches: Tensor | None) -> Tensor:
        if first == 0:
            return _tokens(self.model.trunk, images, patches)
        with torch.no_grad():
            x = _tokens(self.model.trunk, images, patches)
            for block in self.model.trunk.blocks[:first]:
                x = block(x)
        return x

    def _maybe_kept(self, i: int, block: nn.Module, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        layers = self.model.cross_attention
        layer = layers[str(i)] if str(i) in layers else None  # noqa: SIM401 (a ModuleDict has no get)

        def run(x: Tensor, text: Tensor) -> Tensor:
            return block(x if layer is None else layer(_for_each(x, text), text, mask))

        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(run, x, text, use_reentrant=False)
        return run(x, text)

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        encoder: Any = self.model.text_encoder
        hidden = encoder.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return F.normalize(hidden, dim=-1)


class Forward:
    """From a batch to logits and their loss, as the recipe says: text cached or learning, in its precision."""

    def __init__(
        self, step: SteeringStep, settings: TrainSettings, device: torch.device, texts: TextCache | None
    ) -> None:
        self.module: nn.Module = step  # or what wraps it
        self.settings, self.device = settings, device
        self.texts = texts  # None: the text tower learns too
        self._encoder: Any = step.model.text_encoder

    def output(self, batch: Batch, module: nn.Module | None = None) -> Output:
        """What `module`, by default the one that learns, gives for a batch; logits in float32."""
        module = module or self.module
        images = batch.pixels.to(self.device, non_blocking=True)
        patches = None if batch.patches is None else batch.patches.to(self.device, non_blocking=True)
        with self.precision():
            text, mask = self._text(batch.texts)
            output = module(images, text.to(self.device), mask.to(self.device), patches)
        return output._replace(logits=output.logits.float())

    def precision(self) -> AbstractContextManager[Any]:
        """Half precision where the recipe wants it."""
        if self.settings.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def loss(self, output: Output, batch: Batch, targets: Tensor) -> Tensor:
        """The paper's loss, and what the recipe adds to it with which weight."""
        loss = segmentation_loss(output.logits, targets)
        if self.settings.presence:
            loss = loss + self.settings.presence * presence_loss(output.logits, targets)
        if self.settings.kinds:
            loss = loss + self.settings.kinds * _kinds_loss(output, batch)
        # Of each image's sentences the one that asks for most.
        first = slice(None, None, len(output.logits) // len(batch.pixels))
        if self.settings.overlap:
            loss = loss + self.settings.overlap * overlap_loss(output.logits[first], targets[first])
        if self.settings.shown:
            loss = loss + self.settings.shown * shown_loss(output.logits[first], targets[first])
        return loss

    def _text(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token features (B, L, d_t) and mask, or token ids (B, L) and mask when the text tower learns."""
        if self.texts is not None:
            return self.texts(texts)
        encoder = self._encoder
        longest = encoder.model.config.max_position_embeddings - 2
        tokens = encoder.tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        return tokens["input_ids"], tokens["attention_mask"].bool()


def _kinds_loss(output: Output, batch: Batch) -> Tensor:
    """How well patches and sentences are told apart by kind. Only for a supply that says which is which."""
    assert output.kinds is not None and output.named is not None
    assert batch.kinds is not None and batch.named is not None
    kinds, named = batch.kinds.to(output.kinds.device), batch.named.to(output.kinds.device)
    separated = kinds_loss(output.kinds, kinds) + kinds_loss(output.named, named)
    return separated + naming_loss(output.logits.unflatten(0, (len(kinds), -1)), kinds, named)


def _tokens(trunk: Any, images: Tensor, patches: Tensor | None) -> Tensor:
    """What enters the first block, (B, N, D): of whole images, or of `patches` whose features are given."""
    if patches is None:
        return embed(trunk, images)
    x = trunk.patch_embed.project(images) + trunk.pos_embed[0, trunk.num_prefix_tokens + patches]
    first = trunk.cls_token + trunk.pos_embed[:, : trunk.num_prefix_tokens]
    return torch.cat([first.expand(len(x), -1, -1), x], 1)  # nano's trunk has a CLS token and no other


def _for_each(x: Tensor, text: Tensor) -> Tensor:
    """Tokens of images (B, N, D), repeated for each of their sentences: (B*T, N, D) when text is (B*T, L, D)."""
    return x if len(x) == len(text) else x.repeat_interleave(len(text) // len(x), 0)
