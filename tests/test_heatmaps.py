"""Activation, prompt average, smoothing and image score of heatmaps."""

import numpy as np
import pytest

from anomaly.errors import SteerAnomalyError
from anomaly.heatmaps import activate, average, image_score, resize, smooth

LOGITS = np.array([[[0.0, 0.0], [0.0, np.log(5)]]], np.float32)


def test_softmax_is_the_share_of_mass_times_the_number_of_patches():
    assert activate(LOGITS, "softmax")[0] == pytest.approx(np.array([[0.5, 0.5], [0.5, 2.5]]))


def test_sigmoid_and_logit():
    assert activate(LOGITS, "sigmoid")[0, 1, 1] == pytest.approx(5 / 6)
    assert np.array_equal(activate(LOGITS, "logit"), LOGITS)
    assert np.isfinite(activate(np.array([[-1e4, 1e4]]), "sigmoid")).all()


def test_an_unknown_activation_is_named():
    with pytest.raises(SteerAnomalyError, match="relu"):
        activate(LOGITS, "relu")


def test_average_and_contrast():
    maps = np.stack([np.full((2, 2), value, np.float32) for value in (1, 3, 0.5)])
    assert average(maps)[0, 0] == pytest.approx(1.5)
    assert average(maps, contrast=1)[0, 0] == pytest.approx(1.5)
    assert average(maps[:2], contrast=1)[0, 0] == pytest.approx(-2)


def test_resize_agrees_with_torch_bilinear():
    import torch

    heat = np.random.default_rng(0).random((5, 7), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(heat)[None, None], size=(31, 64), mode="bilinear", align_corners=False
    )
    assert resize(heat, (31, 64)) == pytest.approx(expected[0, 0].numpy(), abs=1e-5)
    assert resize(heat, (1, 1)).shape == (1, 1)


def test_smoothing_keeps_the_mean_and_lowers_the_peak():
    heat = np.zeros((33, 33), np.float32)
    heat[16, 16] = 1
    soft = smooth(heat, 2)
    assert soft.sum() == pytest.approx(1, abs=1e-3)
    assert soft.max() == pytest.approx(1 / (2 * np.pi * 4), rel=0.05)
    assert smooth(heat, 0) is heat


def test_image_score_is_the_mean_of_the_top_thousandth():
    heat = np.zeros((100, 100), np.float32)
    heat.flat[:10] = np.arange(1, 11)
    assert image_score(heat) == pytest.approx(5.5)
    assert image_score(np.array([[3.0]], np.float32)) == 3
