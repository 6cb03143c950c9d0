"""A moving average of the weights that learn: smoother than any single step's, and what is kept in the end."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from steervit.modeling.model import SteerViT
from steervit.training.optim import learned_state


class Average:
    """The exponential moving average of `model` with this `decay` per step (0 < decay < 1).

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
