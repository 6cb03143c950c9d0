"""Text that meets frozen features afterwards: added to them, or asking which of them to pool."""

import numpy as np
import pytest
import torch

from anomaly.errors import SteerAnomalyError
from anomaly.methods.encoding import FrozenEncoder, LateFusionEncoder, TextPoolingEncoder
from anomaly.methods.late_fusion import fused
from anomaly.methods.text_pooling import TEMPERATURE, pooled, weights
from anomaly.methods.text_scores import mean_direction, scores


class Corners:
    """A `Backbone` of two patches in a plane, (2, 0) and (0, 1), for every image; sentences point up."""

    name, scale, aligned, smooth, image_size, grid_size = "corners", 10.0, True, 0.0, (4, 8), (1, 2)

    def see(self, images):
        patches = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).expand(len(images), -1, -1)
        return patches, patches[:, 0]

    def say(self, texts):
        return torch.tensor([[0.0, 3.0]]).expand(len(texts), -1)


IMAGES, TEXTS = torch.zeros(2, 3, 4, 8), ["up", "up"]


def test_fusion_by_hand():
    """(2, 0) has the direction (1, 0); with (0, 1) added, once, that is 45 degrees at the old length of 2."""
    found = fused(torch.tensor([[2.0, 0.0]]), torch.tensor([0.0, 3.0]), 1.0)
    assert found.numpy() == pytest.approx(np.array([[2**0.5, 2**0.5]]))
    assert torch.equal(fused(found, torch.tensor([0.0, 3.0]), 0.0), found)


def test_pooling_by_hand_and_against_attention():
    """Cosines 0 and 1 at the temperature; the same as torch's attention with unit queries and keys."""
    patches, whole = Corners().see(IMAGES)
    text = Corners().say(TEXTS)
    share = 1 / (1 + np.exp(-1 / TEMPERATURE))
    assert weights(patches, text)[0].numpy() == pytest.approx([1 - share, share])
    unit = torch.nn.functional.normalize
    expected = torch.nn.functional.scaled_dot_product_attention(
        unit(text, dim=-1)[:, None], unit(patches, dim=-1), patches, scale=1 / TEMPERATURE
    )[:, 0]
    found = pooled(patches, whole, text, 1.0)
    assert torch.allclose(found, unit(expected, dim=-1), atol=1e-6)
    assert torch.allclose(pooled(patches, whole, text, 0.0), unit(whole, dim=-1))


def test_scores_by_hand():
    up, right = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    vectors = torch.tensor([[0.0, 5.0], [3.0, 3.0]])
    assert scores(vectors, up, None, 10).numpy() == pytest.approx([1, 0.5**0.5])
    assert scores(vectors, up, right, 10).numpy() == pytest.approx([1 / (1 + np.exp(-10)), 0.5])
    assert mean_direction(torch.tensor([[0.0, 9.0], [1.0, 0.0]])).numpy() == pytest.approx(
        [0.5**0.5, 0.5**0.5]
    )


def test_encoders_give_what_the_benchmarks_ask_for():
    late, asked = LateFusionEncoder(Corners(), 1.0), TextPoolingEncoder(Corners(), 1.0)
    assert late.global_features(IMAGES, TEXTS).shape == asked.global_features(IMAGES, TEXTS).shape == (2, 2)
    assert torch.equal(late.global_features(IMAGES, None), Corners().see(IMAGES)[1])
    assert late.dense_features(IMAGES, TEXTS)[0, 0].numpy() == pytest.approx([2**0.5, 2**0.5])
    assert late.logits(IMAGES, TEXTS)[0].numpy() == pytest.approx(np.array([[0, 10]]))
    assert asked.attention(IMAGES, TEXTS)[0].numpy() == pytest.approx(np.array([[0, 1]]))


def test_what_no_text_touches_refuses_sentences():
    frozen = FrozenEncoder(Corners(), 1.0)
    assert frozen.global_features(IMAGES, None).shape == (2, 2)
    for ask in (frozen.global_features, frozen.dense_features):
        with pytest.raises(SteerAnomalyError, match="--prompts none"):
            ask(IMAGES, TEXTS)
    with pytest.raises(SteerAnomalyError, match="attends to patches"):
        frozen.attention(IMAGES, None)
    with pytest.raises(SteerAnomalyError, match="trained to meet it"):
        frozen.logits(IMAGES, None)
