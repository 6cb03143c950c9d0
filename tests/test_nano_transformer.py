"""nano's transformer and the network of its eyes are timm's: same names, same start, same answers."""

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from steervit.nano import lite
from steervit.nano.eyes import DEPTHS, Eyes
from steervit.nano.trunk import WhitenedPatchEmbed, nano_trunk


def timms():
    return VisionTransformer(
        img_size=48, patch_size=12, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=0,
        embed_layer=WhitenedPatchEmbed,
    )  # fmt: skip


def test_the_transformer_starts_and_answers_as_timms():
    torch.manual_seed(0)
    expected = timms().eval()
    torch.manual_seed(0)
    found = nano_trunk(48, 12, 24, 2, 3, 2.0).eval()
    theirs, ours = expected.state_dict(), found.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    for one in found.parameters():
        nn.init.normal_(one, std=0.2)
    expected.load_state_dict(found.state_dict())
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.allclose(found(images), expected.forward_features(images), atol=1e-5)


def test_the_network_answers_as_timms():
    network = timm.create_model("tf_efficientnet_lite0").eval()
    assert [len(stage) for stage in network.blocks] == DEPTHS
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(std=0.3)
            one.running_var.uniform_(0.5, 2)
    eyes = Eyes(network.state_dict())
    x = torch.rand(1, 3, 72, 64)
    found, expected = eyes.stem(x), network.bn1(network.conv_stem(x))
    for ours, theirs in zip(eyes.stages, network.blocks, strict=False):
        found, expected = ours(found), theirs(expected)
        assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    assert len(eyes.stages) == len(lite.STAGES) + 1
