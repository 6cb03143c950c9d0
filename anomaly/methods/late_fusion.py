"""Text added after the last block: to frozen features afterwards, or by a layer that was trained to (ablations).

Added to every patch alike, a sentence moves all of them by the same vector: a linear head's map stays what it was. So
the sum's length is brought back to the patch's own, which leaves it a little to change. The paper found 0.02 % by it.
Letters: D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anomaly.errors import SteerAnomalyError
from anomaly.methods.backbones import TrunkBackbone, open_backbone, squashed
from anomaly.methods.method import Asked, Found
from anomaly.methods.read_text import ReadText
from anomaly.methods.text_scores import scores

if TYPE_CHECKING:
    import torch


def fused(vectors: torch.Tensor, text: torch.Tensor, weight: float) -> torch.Tensor:
    """Vectors (..., D) turned towards a sentence's direction (D,) by adding it, `weight` times; their lengths stay."""
    from torch.nn.functional import normalize

    length = vectors.norm(dim=-1, keepdim=True)
    return normalize(normalize(vectors, dim=-1) + weight * normalize(text, dim=-1), dim=-1) * length


class LateFusion(ReadText):
    """See the module; the weight is omega. CLIP and SigLIP have no head: patches are compared with the prompts."""

    name, about = "late-fusion", "the prompts' vector added to frozen features"
    weighs_text = True

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, open_backbone(asked))

    def patch_scores(
        self, images: torch.Tensor, wanted: torch.Tensor, contrast: torch.Tensor | None
    ) -> torch.Tensor:
        """See `ReadText`."""
        turned = fused(self.backbone.see(images)[0], wanted, self.asked.omega)
        if isinstance(self.backbone, TrunkBackbone):
            return self.backbone.model.head(turned)
        return scores(turned, wanted, contrast, self.backbone.scale)


class TrainedLateFusion(ReadText):
    """A checkpoint with cross-attention after the last block only, as of `steer-anomaly train ablation-late-fusion`."""

    name, about = "trained-late-fusion", "a checkpoint of the late-fusion ablation"
    weighs_text = True
    backbone: TrunkBackbone

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, TrunkBackbone(asked))

    def find(self, image: np.ndarray, object: str) -> Found:
        """See `Method`: the mean over the prompts of the head's logits."""
        import torch

        model = trained(self.backbone, self.asked.omega)
        with torch.inference_mode():
            bank = model.prepare(self.asked.prompts.fill(object))
            logits = model.segment(squashed(self.backbone, image), bank).logits[0].mean(0)
        return Found(logits.cpu().numpy(), self.backbone.image_size)


def trained(backbone: TrunkBackbone, omega: float) -> Any:
    """The late-fusion model at `omega`. Raises `SteerAnomalyError` for one that is steered before the last block."""
    model = backbone.model
    if not model.late_layers() or len(model.late_layers()) < len(model.cross_attention):
        raise SteerAnomalyError(
            f"expected a checkpoint with cross-attention after the last block only, {backbone.name} has other: train "
            "one with `steer-anomaly train ablation-late-fusion`"
        )
    model.set_gate_factor(omega)
    return model
