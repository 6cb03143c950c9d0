"""A MaskCLIP-like map (Zhou et al., ECCV 2022): the last block's values, unmixed by attention, against the prompts.

As in its code, the last block keeps its residual and its MLP; refinement by keys and prompt denoising are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomaly.methods.backbones import CONTRASTIVE, open_contrastive
from anomaly.methods.method import Asked
from anomaly.methods.read_text import ReadText
from anomaly.methods.text_scores import scores

if TYPE_CHECKING:
    import torch

    from anomaly.methods.contrastive import ContrastiveBackbone


class MaskClip(ReadText):
    """See the module. For CLIP, and SigLIP too."""

    name, about = "maskclip", "values of CLIP's last block against the prompts, like MaskCLIP"
    prompt_set = "compositional-contrast"
    backbone: Any

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, open_contrastive(asked, CONTRASTIVE))

    def patch_scores(
        self, images: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None
    ) -> torch.Tensor:
        """See `ReadText`."""
        return scores(values(self.backbone, images), wanted, contrast, self.backbone.scale)


def values(backbone: ContrastiveBackbone, images: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, S, S) -> patches (B, N, D) that look at themselves alone in the last block."""
    tokens = backbone.embedded(images)
    *blocks, last = backbone.model.vision_model.encoder.layers
    for block in blocks:
        tokens = block(tokens, None)
    attention = last.self_attn
    tokens = tokens + attention.out_proj(attention.v_proj(last.layer_norm1(tokens)))
    tokens = tokens + last.mlp(last.layer_norm2(tokens))
    return backbone.projected(tokens[:, 1:] if backbone.is_clip else tokens)
