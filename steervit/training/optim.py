"""Which parameters learn, how fast, how they decay, and their moving average.

Knows the parts of a SteerViT, not what they are trained on.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from steervit.modeling.model import SteerViT
from steervit.nano.hybrid import PART
from steervit.training.recipe import Schedule, TrainSettings

EYES = f"trunk.{PART}"
STEERING = ("cross_attention.", "connector.", "head.")


def set_trainable(model: SteerViT, trainable: str) -> None:
    """Let cross-attention, connector and head learn; with "steering+text" the text tower too, with "steering+trunk"
    the trunk, with "all" both.

    Everything else receives no gradient and stays in eval mode; so does what a hybrid trunk sees through.
    """
    model.eval()
    learning = [*STEERING]
    learning += ["text_encoder."] if trainable in ("steering+text", "all") else []
    learning += ["trunk."] if trainable in ("steering+trunk", "all") else []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(learning)) and not name.startswith(EYES))


def learned_state(model: SteerViT) -> dict[str, Tensor]:
    """The tensors that training changes."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def frozen_hash(model: SteerViT) -> str:
    """A hash of all parameters that do not learn, so that a run goes on with the weights it began with."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def parameter_groups(model: SteerViT, settings: TrainSettings) -> list[dict]:
    """Two groups as in the official code: the connector, and cross-attention with the head.

    When the trunk or the text tower learn too, matrices decay as these do, and no vector does, gates included.
    `share` of a group is its part of the learning rate: the recipe's `text_rate` for the text tower, else 1.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = settings.weight_decay
        if name.startswith("connector."):
            decay = settings.connector_weight_decay
        if settings.trainable != "steering" and parameter.ndim <= 1:
            decay = 0.0
        share = float(settings.text_rate) if name.startswith("text_encoder.") else 1.0
        groups.setdefault((decay, share), []).append(parameter)
    return [
        {"params": params, "weight_decay": decay, "share": share} for (decay, share), params in groups.items()
    ]


def new_optimiser(model: SteerViT, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; the learning rate is set at every step."""
    first, second = settings.betas
    return torch.optim.AdamW(
        parameter_groups(model, settings),
        lr=settings.schedule.peak,
        betas=(first, second),
        fused=model.device.type == "cuda",
    )


def learning_rate(step: int, schedule: Schedule) -> float:
    """The rate of update number `step`, counted from 0.

    Warm-up reaches `peak` with its last step; the cosine starts after it and reaches `floor` at
    `cosine_until`. With `warmup` 0 this is torch's `CosineAnnealingLR` followed by a constant.
    """
    if step < schedule.warmup:
        return schedule.peak * (step + 1) / schedule.warmup
    length = schedule.cosine_until - schedule.warmup
    progress = min(1.0, (step - schedule.warmup) / length) if length > 0 else 1.0
    return schedule.floor + (schedule.peak - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class Average:
    """The exponential moving average of `model` with this `decay` per step (0 < decay < 1).

    Smoother than any single step's weights, and what is kept in the end.

    Until the first update `model` here is a copy of the one given.
    """

    def __init__(self, model: SteerViT, decay: float) -> None:
        self._source = model
        self._averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def model(self) -> SteerViT:
        """The averaged model."""
        return self._averaged.module  # type: ignore[return-value]  # AveragedModel does not say what it wraps

    def update(self) -> None:
        """Take in the weights as they are now."""
        self._averaged.update_parameters(self._source)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return learned_state(self.model)

    def restore(self, state: dict[str, Tensor], buffers: dict[str, Tensor], updates: int) -> None:
        """Go on from `state` after so many `updates`, with the trunk's buffers."""
        self.model.load_state_dict(state, strict=False)
        self.model.trunk.load_state_dict(buffers, strict=False)
        self._averaged.n_averaged.copy_(torch.tensor(updates))
