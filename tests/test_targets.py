"""Targets and losses, by hand."""

import numpy as np
import pytest
import torch

from steervit.training.losses import (
    kinds_loss,
    naming_loss,
    patch_fractions,
    pmass,
    presence_loss,
    segmentation_loss,
)


def test_patch_fractions_and_losses_by_hand():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :2] = 1
    mask[0, 0, 2] = 1
    fractions = patch_fractions(mask, 2)
    assert fractions.tolist() == [[1.0, 0.25, 0.0, 0.0]]
    logits = torch.zeros(1, 4)
    assert segmentation_loss(logits, fractions).item() == pytest.approx(np.log(4))
    assert segmentation_loss(logits, torch.zeros(1, 4)).item() == 0
    assert pmass(logits, fractions).item() == pytest.approx(0.5)
    assert pmass(logits, torch.zeros(1, 4)).isnan().all()
    assert presence_loss(logits, torch.zeros(1, 4)).item() == pytest.approx(np.log(2))


def test_kinds_loss_by_hand():
    logits = torch.zeros(1, 3, 2)
    logits[0, 0, 1] = np.log(3)  # three quarters for kind 1, which it is
    logits[0, 1, 0] = 50.0  # of no kind: no say
    logits = torch.cat([logits, logits[:, 2:]], 1)  # two of kind 0, with even odds, count as one
    loss = kinds_loss(logits, torch.tensor([[1, -1, 0, 0]]))
    assert loss.item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    assert kinds_loss(logits, torch.full((1, 4), -1)).item() == 0


def test_naming_loss_by_hand():
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 0] = np.log(3)
    kinds, named = torch.tensor([[2, 5, 2, -1]]), torch.tensor([[2, 4, -1]])
    # Of two sentences that name a kind, the first means patches 0 (odds of 3 to 1) and 2 (even odds).
    assert naming_loss(logits, kinds, named).item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    assert naming_loss(logits, kinds, torch.tensor([[2, 2, -1]])).item() == 0  # nothing to be told apart
    assert naming_loss(logits, torch.full((1, 4), -1), named).item() == 0
