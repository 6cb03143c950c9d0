"""CLIP and SigLIP as they are: the probability, patch by patch, of what prompts ask for against what contrast does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly.methods.backbones import open_contrastive
from anomaly.methods.method import Asked
from anomaly.methods.read_text import ReadText
from anomaly.methods.text_scores import scores

if TYPE_CHECKING:
    import torch


class Clip(ReadText):
    """CLIP's patches after its last block (Radford et al. 2021)."""

    name, about = "clip", "CLIP's patches against the prompts"
    prompt_set = "compositional-contrast"
    kinds: tuple[str, ...] = ("clip",)

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, open_contrastive(asked, self.kinds))

    def patch_scores(
        self, images: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None
    ) -> torch.Tensor:
        """See `ReadText`."""
        return scores(self.backbone.see(images)[0], wanted, contrast, self.backbone.scale)


class Siglip(Clip):
    """SigLIP's patches, each alone through its pooling head (Zhai et al. 2023)."""

    name, about = "siglip", "SigLIP's patches against the prompts"
    kinds = ("siglip",)
