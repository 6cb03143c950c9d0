"""Folded convolutions give what timm's blocks give, and follow weights that are loaded or moved."""

import pytest
import torch
from torch import nn

from steervit.inference import onednn
from steervit.inference.convolutions import FoldedConvolution
from steervit.nano.eyes import Eyes

pytestmark = pytest.mark.skipif(not onednn._FUSED, reason="a torch without oneDNN")


def eyes(seed=0):
    torch.manual_seed(seed)
    made = Eyes()
    for one in made.modules():
        if isinstance(one, nn.BatchNorm2d):  # as if they were trained
            one.running_mean.normal_(std=0.3)
            one.running_var.uniform_(0.5, 2)
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.normal_(one.bias, std=0.3)
    return made


def plain(network, images):
    with torch.enable_grad():  # with gradients nothing is folded
        return network.outputs(images)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_folded_eyes_give_what_the_layers_give(size):
    images, network = torch.rand(2, 3, *size), eyes()
    with torch.inference_mode():
        found = network.outputs(images)
    for one, expected in zip(found, plain(network, images), strict=True):
        assert torch.allclose(one, expected, atol=1e-4, rtol=1e-4)


def test_folded_weights_follow_what_is_loaded():
    images, network, other = torch.rand(1, 3, 64, 64), eyes(), eyes(1)
    with torch.no_grad():
        network.outputs(images)
        network.load_state_dict(other.state_dict())
        found = network.outputs(images)
    assert torch.allclose(found[-1], plain(other, images)[-1], atol=1e-4, rtol=1e-4)


def test_other_activations_are_refused():
    norm = nn.BatchNorm2d(4)
    norm.act = nn.GELU()
    with pytest.raises(ValueError, match="GELU"):
        FoldedConvolution.of(nn.Conv2d(3, 4, 3, bias=False), norm)
