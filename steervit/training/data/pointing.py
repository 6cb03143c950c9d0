"""The target of the pointing ablation: where, and not what shape. Letters as in `targets`."""

from __future__ import annotations

import torch
from torch import Tensor

from steervit.training.masks.run_length import box_of


def pointing_targets(masks: Tensor, patch: int, sigma: float = 1.1) -> Tensor:
    """Masks (B, S, S), 0 or 1 -> (B, h*w): a Gaussian of `sigma` patches at the centre of each mask's box.

    Values 0..1, not normalised (the loss does that), row by row; all zero where the mask is empty. Every
    other value is above 0, so *pmass*, the mass where the target is above 0, must be taken on the mask's own
    `patch_fractions`.
    """
    side = masks.shape[-1] // patch
    at = torch.arange(side) + 0.5  # patch centres, in patches
    targets = torch.zeros(len(masks), side, side)
    for target, mask in zip(targets, masks, strict=True):
        box = box_of(mask.cpu().numpy().astype(bool))
        if box is not None:
            x, y = (box[0] + box[2]) / 2 / patch, (box[1] + box[3]) / 2 / patch
            squared = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2
            target.copy_(torch.exp(-squared / (2 * sigma**2)))
    return targets.flatten(1)
