"""From patches and sentences in one space to how much each patch is what the prompts ask for.

Letters: N patches, P prompts, Q contrast prompts, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from anomaly.methods.backbones import Backbone
    from anomaly.prompts import PromptSet


def mean_direction(vectors: torch.Tensor) -> torch.Tensor:
    """Sentences (P, D) -> the direction (D,) in the middle of theirs: CLIP's prompt ensemble."""
    from torch.nn.functional import normalize

    return normalize(normalize(vectors, dim=-1).mean(0), dim=-1)


def directions(
    backbone: Backbone, prompts: PromptSet, object: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Where prompts and contrast prompts point for the part called `object`, (D,) each; None without contrast."""
    texts, contrast = prompts.fill(object), prompts.fill_contrast(object)
    return mean_direction(backbone.say(texts)), mean_direction(backbone.say(contrast)) if contrast else None


def scores(
    vectors: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Vectors (..., D) -> (...): the probability of `wanted` against `contrast`, without one the cosine to `wanted`."""
    import torch
    from torch.nn.functional import normalize

    unit = normalize(vectors, dim=-1)
    if contrast is None:
        return unit @ wanted
    return torch.sigmoid(scale * (unit @ wanted - unit @ contrast))
