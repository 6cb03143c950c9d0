"""The connector: text tokens into the trunk's width, Linear - ReLU - Linear (or, as an ablation, one Linear)."""

from __future__ import annotations

from torch import Tensor, nn


class Connector(nn.Module):
    """(…, d_t) -> (…, d_v). Kaiming-normal weights (fan-in), zero biases.

    `linear` leaves out the hidden layer: the paper's linear-projector ablation.
    """

    def __init__(self, text_dim: int, vision_dim: int, linear: bool = False) -> None:
        super().__init__()
        hidden = [] if linear else [nn.Linear(text_dim, text_dim), nn.ReLU()]
        self.mlp = nn.Sequential(*hidden, nn.Linear(text_dim, vision_dim))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, text: Tensor) -> Tensor:
        """Text tokens (P, L, d_t) -> (P, L, d_v)."""
        return self.mlp(text)
