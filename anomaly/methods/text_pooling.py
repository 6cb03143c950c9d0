"""Text-conditioned attention pooling over frozen patches, like FLAIR (Xiao et al., CVPR 2025) without its training.

A sentence's vector asks, patches are keys and values, a softmax of their cosines weighs them. FLAIR learns projections
and heads for it; here there are none, so this says what frozen features allow.
Letters: B images, N patches, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly.methods.backbones import open_backbone
from anomaly.methods.method import Asked
from anomaly.methods.read_text import ReadText
from anomaly.methods.text_scores import scores

if TYPE_CHECKING:
    import torch

TEMPERATURE = 0.07


def weights(patches: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Patches (B, N, D) and one sentence for each image (B, D), or for all (D,) -> how much each counts, (B, N)."""
    from torch.nn.functional import normalize

    asked = normalize(text, dim=-1).unsqueeze(-1)
    return (normalize(patches, dim=-1) @ asked).squeeze(-1).div(TEMPERATURE).softmax(-1)


def pooled(patches: torch.Tensor, whole: torch.Tensor, text: torch.Tensor, omega: float) -> torch.Tensor:
    """One vector for each image (B, D): from `whole` (B, D) at omega 0 to what the sentence pools at 1."""
    from torch.nn.functional import normalize

    found = (weights(patches, text)[..., None] * patches).sum(1)
    return (1 - omega) * normalize(whole, dim=-1) + omega * normalize(found, dim=-1)


class TextPooling(ReadText):
    """Its map is what the pooling weighs by: cosines of patches with the prompts, against contrast if there is some."""

    name, about = (
        "text-pooling",
        "cosine of frozen patches with the prompts, by which a FLAIR-like pooling weighs",
    )

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, open_backbone(asked))

    def patch_scores(
        self, images: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None
    ) -> torch.Tensor:
        """See `ReadText`."""
        return scores(self.backbone.see(images)[0], wanted, contrast, self.backbone.scale)
