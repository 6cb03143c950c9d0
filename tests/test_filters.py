"""The fixed filter bank: whitening, symmetry and finite answers on awkward images."""

import pytest
import torch

from steervit.filters import (
    FEATURES,
    FILTERS,
    filter_bank,
    inverse_square_root,
    nearest_distance,
    patch_features,
    standardise,
    whiten,
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
    white = whiten(standardise(filter_bank(image()))).flatten(2)
    correlation = (white @ white.transpose(1, 2) / white.shape[-1])[0]
    off = correlation - torch.diag(correlation.diagonal())
    assert off.abs().max() < 0.25  # three colours of noise share one small direction, the ridge holds it
    assert correlation.diagonal().max() <= 1.001


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_image_gives_finite_features(value):
    assert patch_features(torch.full((1, 3, 64, 64), value), 8).isfinite().all()


def test_flipping_the_image_flips_the_features():
    flipped = patch_features(image().flip(-1), 8).view(8, 8, -1)
    assert torch.allclose(flipped, patch_features(image(), 8).view(8, 8, -1).flip(1), atol=2e-3)


def test_the_odd_patch_is_the_farthest_from_its_neighbours():
    x = torch.zeros(1, 9, 2)
    x += 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    x[0, 4] = 5
    assert nearest_distance(x)[0, :, 0].argmax() == 4


def test_a_single_patch_has_no_neighbours():
    assert nearest_distance(torch.ones(1, 1, 3)).abs().max() == 0
