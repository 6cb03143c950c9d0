"""Targets and losses, by hand."""

import numpy as np
import pytest
import torch

from steervit.training.targets import patch_fractions, pmass, presence_loss, segmentation_loss


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
