"""The filters by NumPy and OpenCV give what they give in torch, and products in pieces what whole ones give."""

import numpy as np
import pytest
import torch

from steervit.nano import filters
from steervit.nano.host_filters import host_patches, host_responses
from steervit.nano.host_filters import nearest_distance as nearest
from steervit.nano.host_products import SMALL, product
from steervit.nano.host_ridges import host_ridges
from steervit.nano.ridges import ridges


def image(height=96, width=96, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def tensor(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("pixels", "patch"), [(image(), 12), (image(64, 96), 8), (image(24, 24) * 0 + 0.5, 8)]
)
def test_features_and_lines_are_those_of_torch(pixels, patch, monkeypatch):
    monkeypatch.setattr(filters, "on_host", lambda images: False)
    features, lines = filters.describe_patches(tensor(pixels), patch)
    found, found_lines = host_patches(pixels, patch)
    assert np.allclose(host_responses(pixels), filters.filter_bank(tensor(pixels))[0].numpy(), atol=2e-6)
    assert np.allclose(found, features[0].numpy(), atol=3e-4)
    assert np.allclose(found_lines, lines[0].numpy(), atol=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_stays_none(value):
    pixels = image()
    pixels[40, 50, 1] = value
    with np.errstate(invalid="ignore"):
        features, _ = host_patches(pixels, 12)
    assert not np.isfinite(features[:, 25:75]).any()  # whitening mixes all filters


def test_a_batch_goes_to_the_host_in_order():
    pixels = [image(seed=seed) for seed in (1, 2)]
    features, lines = filters.describe_patches(torch.cat([tensor(one) for one in pixels]), 12)
    for i, one in enumerate(pixels):
        expected = host_patches(one, 12)
        assert np.array_equal(features[i], expected[0])
        assert np.array_equal(lines[i], expected[1])


@pytest.mark.parametrize("size", [(96, 96), (48, 132), (8, 8)])
def test_lines_by_packed_transforms(size):
    grey = image(*size)[..., 0]
    assert np.allclose(host_ridges(grey), ridges(torch.from_numpy(grey)[None, None])[0].numpy(), atol=2e-6)


def test_nearest_distances_are_those_of_torch():
    x = np.random.default_rng(3).normal(size=(50, 7)).astype(np.float32)
    assert np.allclose(nearest(x), filters.nearest_distance(torch.from_numpy(x)[None])[0].numpy(), atol=1e-4)
    assert not nearest(x[:1]).any()


@pytest.mark.parametrize("sides", [(3, 4, 5), (25, 25, 4608), (25, 9000, 25), (150, 50, 170)])
def test_products_in_pieces(sides):
    m, k, n = sides
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    assert m * k * n > SMALL or m == 3
    assert np.allclose(product(a, b), a.astype(np.float64) @ b, atol=1e-3)
