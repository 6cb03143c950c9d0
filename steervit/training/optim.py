"""Which parameters learn, and how they decay. Knows the parts of a SteerViT, not what they are trained on."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from steervit.modeling.model import SteerViT
from steervit.training.recipe import TrainSettings

STEERING = ("cross_attention.", "connector.", "head.")


def set_trainable(model: SteerViT, trainable: str) -> None:
    """Let cross-attention, connector and head learn; with "steering+text" the text tower too, with "all" the trunk too.

    Everything else receives no gradient and stays in eval mode.
    """
    model.eval()
    learning = (*STEERING, "text_encoder.") if trainable == "steering+text" else STEERING
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable == "all" or name.startswith(learning))


def frozen_state(model: SteerViT) -> dict[str, torch.Tensor]:
    """The tensors that must not change: parameters without gradient, and all buffers."""
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in learned}


def learned_state(model: SteerViT) -> dict[str, torch.Tensor]:
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
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = settings.weight_decay
        if name.startswith("connector."):
            decay = settings.connector_weight_decay
        if settings.trainable != "steering" and parameter.ndim <= 1:
            decay = 0.0
        groups.setdefault(decay, []).append(parameter)
    return [{"params": params, "weight_decay": decay} for decay, params in groups.items()]


def new_optimiser(model: SteerViT, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`; the learning rate is set at every step."""
    first, second = settings.betas
    return torch.optim.AdamW(
        parameter_groups(model, settings),
        lr=settings.schedule.peak,
        betas=(first, second),
        fused=model.device.type == "cuda",
    )
