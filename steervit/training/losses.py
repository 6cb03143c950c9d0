"""Targets and losses of referring segmentation on patches (paper, section 3; PROTOCOL section 3).

Letters: B samples, h x w patches, S image side in pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from steervit.training.masks.run_length import box_of

TOP = 6  # patches that decide on an image
CLEARLY = 0.3  # covered fraction of a patch from which an image shows what is asked for


def patch_fractions(masks: Tensor, patch: int) -> Tensor:
    """Masks (B, S, S), 0 or 1 -> the covered fraction of every patch, (B, h*w), 0..1, row by row."""
    return F.avg_pool2d(masks.float()[:, None], patch).flatten(1)


def pointing_targets(masks: Tensor, patch: int, sigma: float = 1.1) -> Tensor:
    """Masks (B, S, S), 0 or 1 -> (B, h*w): a Gaussian of `sigma` patches at the centre of each mask's box.

    The target of the pointing ablation: where, and not what shape. Values 0..1, not normalised (the loss does
    that), row by row; all zero where the mask is empty. Every other value is above 0, so *pmass*, the mass where
    the target is above 0, must be taken on the mask's own `patch_fractions`.
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


def segmentation_loss(logits: Tensor, fractions: Tensor) -> Tensor:
    """Softmax cross-entropy over patches, -sum(t log softmax(logits)), mean over samples.

    `fractions` (B, h*w) are normalised to sum to one; an empty mask contributes 0.
    """
    total = fractions.sum(-1, keepdim=True)
    targets = fractions / total.clamp_min(1e-12)
    return -(targets * F.log_softmax(logits.float(), -1)).sum(-1).mean()


def presence_loss(logits: Tensor, fractions: Tensor, full: float = 0.25, weight: float = 3.0) -> Tensor:
    """Binary cross-entropy per patch, our addition: it gives sigmoid(logit) a meaning on good images too.

    A patch counts as fully positive from a covered fraction of `full`; positives weigh `weight` times.
    """
    targets = (fractions / full).clamp_max(1.0)
    return F.binary_cross_entropy_with_logits(
        logits.float(), targets, pos_weight=torch.tensor(weight, device=logits.device)
    )


def overlap_loss(logits: Tensor, fractions: Tensor, full: float = 0.25) -> Tensor:
    """One less the Dice overlap of sigmoid(logits) with what is asked for, mean over images that show it. Our addition.

    logits and fractions (B, n); a patch counts fully from a covered fraction of `full`. A scratch of ten patches says
    as much as a stain of three hundred, which a mean over patches does not. 0 in a batch that shows nothing.
    """
    targets = (fractions / full).clamp_max(1.0)
    found, there = logits.float().sigmoid(), targets.sum(-1)
    dice = 2 * (found * targets).sum(-1) / (found.sum(-1) + there).clamp_min(1e-6)
    shows = there > 0
    return ((1 - dice) * shows).sum() / shows.sum().clamp_min(1)


def shown_loss(logits: Tensor, fractions: Tensor) -> Tensor:
    """Are images that show what is asked for told from those that do not, by their best patches? Our addition.

    logits and fractions (B, n), one sentence for each image. The score of an image is the mean of its highest `TOP`
    logits: it is to be above 0 where the thing is and below where it is not, and in every pair of a batch above by
    one. 0 in a batch without both; images between the two have no say.
    """
    score, most = logits.float().topk(min(TOP, logits.shape[-1]), -1).values.mean(-1), fractions.amax(-1)
    with_it, without = score[most > CLEARLY], score[most <= 0]
    if len(with_it) == 0 or len(without) == 0:
        return score.sum() * 0
    apart = F.softplus(1 - (with_it[:, None] - without[None])).mean()
    return (F.softplus(-with_it).mean() + F.softplus(without).mean()) / 2 + apart


def kinds_loss(logits: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy of logits (B, n, K) for the kind of each patch or sentence, kinds (B, n) in -1..K-1.

    The mean over the kinds of each sample, of the mean over what is of that kind: a scratch of four patches says
    as much as a stain of forty. -1 has no say; 0 where there is nothing else.
    """
    each = F.cross_entropy(logits.float().flatten(0, 1), kinds.flatten(), ignore_index=-1, reduction="none")
    return (each * _shares(kinds, logits.shape[-1]).flatten()).sum()


def naming_loss(logits: Tensor, kinds: Tensor, named: Tensor) -> Tensor:
    """Of the sentences that name a kind, which means this patch? A cross-entropy over sentences.

    logits (B, T, n) of patches for their image's sentences; kinds (B, n) of the patches and named (B, T) by the
    sentences, -1: none. Patches that no sentence means, or all, have no say; kinds weigh as in `kinds_loss`.
    """
    asked = (named >= 0)[:, :, None]
    meant = asked & (named[:, :, None] == kinds[:, None])
    contested = meant.any(1) & (asked & ~meant).any(1)
    scores, right = logits.float().transpose(1, 2)[contested], meant.transpose(1, 2)[contested]
    asked = asked.expand_as(meant).transpose(1, 2)[contested]
    each = _log_sum(scores, asked) - _log_sum(scores, right)
    kinds = torch.where(contested, kinds, -1)
    return (each * _shares(kinds, int(kinds.max().clamp_min(0)) + 1)[contested]).sum()


def _log_sum(scores: Tensor, which: Tensor) -> Tensor:
    return scores.masked_fill(~which, -torch.inf).logsumexp(-1)


def _shares(kinds: Tensor, count: int) -> Tensor:
    """Weights (B, n) that sum to one and give each kind of each sample as much as any other; 0 for kind -1."""
    found = F.one_hot(kinds + 1, count + 1).sum(1)[:, 1:]  # (B, K)
    share = torch.where(kinds >= 0, 1 / found.gather(1, kinds.clamp_min(0)).clamp_min(1), 0.0)
    return share / (found > 0).sum().clamp_min(1)


def pmass(logits: Tensor, fractions: Tensor) -> Tensor:
    """Softmax mass on patches whose target is above 0, per sample (B,); NaN where the mask is empty."""
    mass = (logits.float().softmax(-1) * (fractions > 0)).sum(-1)
    return torch.where(fractions.sum(-1) > 0, mass, torch.nan)
