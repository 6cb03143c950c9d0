"""The fixed filter bank: whitening, symmetry and finite answers on awkward images."""

import pytest
import torch

from steervit.nano.filters import (
    FEATURES,
    FILTERS,
    FINE,
    POOLED,
    _hats,
    cell_maps,
    channels,
    describe_patches,
    filter_bank,
    gaussian_blur,
    inverse_square_root,
    mirror,
    nearest_distance,
    oddness,
    patch_features,
    patch_means,
    patch_peaks,
    unmixing,
)


def image(size=64, seed=0):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_shapes_and_range():
    assert filter_bank(image()).shape == (1, FILTERS, 64, 64)
    features = patch_features(image(), 8)
    assert features.shape == (1, 64, FEATURES)
    assert features.abs().max() <= 12


def test_inverse_square_root_agrees_with_the_eigenvalue_way():
    a = torch.randn(3, 19, 40, generator=torch.Generator().manual_seed(1))
    matrix = a @ a.transpose(1, 2) / 40 + 0.02 * torch.eye(19)
    values, vectors = torch.linalg.eigh(matrix.double())
    expected = vectors @ torch.diag_embed(values.rsqrt()) @ vectors.transpose(1, 2)
    assert (inverse_square_root(matrix) - expected).abs().max() < 1e-2


def test_whitened_filters_are_nearly_uncorrelated():
    responses = filter_bank(image()).flatten(2)
    centred = responses - responses.mean(2, keepdim=True)
    white = unmixing(centred)[0] @ centred
    correlation = (white @ white.transpose(1, 2) / white.shape[-1])[0]
    off = correlation - torch.diag(correlation.diagonal())
    # Three colours of noise share one small direction, and the line filters another: the ridge holds them.
    assert off.abs().max() < 0.35
    assert correlation.diagonal().max() <= 1.001


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_image_gives_finite_features(value):
    assert patch_features(torch.full((1, 3, 64, 64), value), 8).isfinite().all()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_features_of_a_mirrored_image_are_mirrored_features(axes):
    pixels = image(96)
    grid = (8, 8, FEATURES)
    expected = patch_features(pixels.flip([axis + 2 for axis in axes]), 12).view(grid)
    assert torch.allclose(mirror(patch_features(pixels, 12).view(grid), axes), expected, atol=2e-3)
    assert not torch.allclose(patch_features(pixels, 12).view(grid).flip(axes), expected, atol=2e-3)


def test_cells_lie_where_their_pixels_do():
    pixels = torch.full((1, 3, 96, 96), 0.5)
    pixels[:, :, 30:33, :] = 0.9  # a line three pixels wide, in the eleventh row of cells
    maps = cell_maps(patch_features(pixels, 12), (8, 8))
    assert maps.shape == (1, FINE, 32, 32)
    assert (maps[0, :3].sum(0).argmax(0) == 10).all()  # colour
    assert ((maps[0, -1].argmax(0) - 10).abs() <= 1).all()  # length, greatest on the flanks


def test_every_feature_has_a_channel():
    assert channels().shape == (FEATURES,)
    assert channels().bincount().tolist() == [1] * POOLED + [16] * FINE


@pytest.mark.parametrize("sigma", [0.7, 1, 4])
def test_blurs_agree_with_opencv(sigma):
    import cv2
    import numpy as np

    pixels = image(40, 5)
    side = 2 * int(3 * sigma + 0.5) + 1
    for plane, found in zip(pixels[0].numpy(), gaussian_blur(pixels, sigma)[0].numpy(), strict=True):
        expected = cv2.GaussianBlur(plane, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
        assert np.allclose(found, expected, atol=1e-6)


def test_features_agree_with_whitening_every_pixel_at_once():
    pixels = image(96, 4)
    responses = filter_bank(pixels)
    mean, flat = responses.mean((2, 3), keepdim=True), responses.flatten(2)
    unmix, std = unmixing(flat - flat.mean(2, keepdim=True))
    white = (unmix @ (responses - mean).flatten(2)).view_as(responses)
    features, lines = describe_patches(pixels, 12)
    pool = torch.nn.functional.avg_pool2d
    expected = [pool((responses - mean) / std[..., None], 12), pool(white.abs(), 12)]
    expected += [torch.nn.functional.max_pool2d(white.abs(), 12), pool(responses, 12)]
    expected = torch.cat(expected, 1).flatten(2).transpose(1, 2).clamp(-12, 12)
    assert torch.allclose(features[..., : 4 * FILTERS], expected, atol=1e-4)
    assert torch.allclose(cell_maps(features, (8, 8))[:, :-1], pool(white, 3), atol=1e-4)
    assert torch.allclose(lines, responses[:, -lines.shape[1] :], atol=2e-6)


def test_images_of_a_batch_are_described_as_each_alone():
    pixels = torch.cat([image(96, seed) for seed in (6, 7)])
    for one, features, lines in zip(pixels, *describe_patches(pixels, 12), strict=True):
        alone = describe_patches(one[None], 12)
        assert torch.allclose(features, alone[0][0], atol=1e-3)
        assert torch.allclose(lines, alone[1][0], atol=1e-5)


def test_hats_agree_with_morphology_of_opencv():
    import cv2
    import numpy as np

    grey = np.random.default_rng(0).random((40, 40), np.float32)
    for size in (5, 11):
        kernel = np.ones((size, size), np.uint8)
        black = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel)
        white = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel)
        found = _hats(torch.from_numpy(grey)[None, None], size)[0].numpy()
        assert np.allclose(found, np.stack([black, white]), atol=1e-6)


def test_peaks_and_means_agree_with_pooling():
    x = torch.randn(2, 3, 24, 36, generator=torch.Generator().manual_seed(2))
    assert torch.equal(patch_peaks(x, 12), torch.nn.functional.max_pool2d(x, 12))
    assert torch.allclose(patch_means(x, 12), torch.nn.functional.avg_pool2d(x, 12), atol=1e-6)
    assert torch.allclose(patch_means(x, 12)[0, :, 0, 0], x[0, :, :12, :12].mean((1, 2)), atol=1e-6)


def test_the_odd_patch_of_an_image_is_called_odd():
    pixels = image(96, 3) * 0.1 + 0.4
    pixels[:, 0, 50:58, 26:34] += 0.5
    for one in oddness(patch_features(pixels, 12))[0].T:
        assert one.argmax() == 4 * 8 + 2


def test_the_odd_patch_is_the_farthest_from_its_neighbours():
    x = torch.zeros(1, 9, 2)
    x += 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    x[0, 4] = 5
    assert nearest_distance(x)[0, :, 0].argmax() == 4


def test_a_single_patch_has_no_neighbours():
    assert nearest_distance(torch.ones(1, 1, 3)).abs().max() == 0
