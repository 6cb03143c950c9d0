"""The within-image term: what it says of patches, and that it is added as asked."""

import numpy as np
import pytest
import torch

from anomaly import Inspector
from anomaly.evidence.protocol import Seen
from anomaly.evidence.self_similarity import self_similarity, unlikeness
from anomaly.prompts import PromptSet
from anomaly.tiles import Tiling
from steervit import SteerViT
from steervit.nano.filters import nearest_distance, oddness, standard_scores


def patches(seed=0, count=64, width=48):
    return torch.randn(1, count, width, generator=torch.Generator().manual_seed(seed))


def test_an_odd_patch_is_the_most_unlike():
    tokens = patches()
    tokens[0, 17] += 6
    assert unlikeness(tokens).argmax() == 17


def test_two_odd_patches_that_are_alike_are_less_odd_than_two_that_differ():
    alike, different = patches(), patches()
    alike[0, 3, 0] = alike[0, 40, 0] = different[0, 3, 0] = 12
    different[0, 40, 1] = 12
    assert unlikeness(alike)[0, [3, 40]].mean() < unlikeness(different)[0, [3, 40]].mean()


def test_scale_and_shift_of_descriptions_do_not_matter():
    tokens = patches()
    assert torch.allclose(unlikeness(tokens), unlikeness(tokens * 7 + 3), atol=1e-2)


@pytest.mark.parametrize("tokens", [torch.zeros(1, 16, 8), torch.ones(2, 9, 40)])
def test_images_without_differences_are_answered_with_numbers(tokens):
    assert unlikeness(tokens).isfinite().all()


def test_standard_scores_by_hand():
    measures = torch.tensor([[[1.0, 10.0], [2.0, 10.0], [3.0, 40.0]]])
    expected = torch.tensor([[-1 - 0.57735, -0.57735, 1 + 1.1547]])
    assert torch.allclose(standard_scores(measures), expected, atol=1e-4)


def test_the_eigenvectors_give_what_a_singular_value_decomposition_gives():
    for tokens in (patches(count=60, width=40), patches(count=40, width=50)):
        centred = tokens - tokens.mean(1, keepdim=True)
        left = torch.linalg.svd(centred, full_matrices=False)[0][..., :32] * tokens.shape[1] ** 0.5
        lengths = left.square().mean(-1).sqrt()
        expected = standard_scores(torch.stack([lengths, nearest_distance(left)[..., 0]], -1))
        assert torch.allclose(unlikeness(tokens), expected, atol=1e-4)


def test_patches_that_are_described_are_asked_by_their_description():
    model = SteerViT.from_pretrained("nano")
    image = torch.rand(1, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    found = model.segment(image, model.prepare(["the crack"]))
    seen = Seen(np.zeros((9, 9, 3), np.uint8), Tiling(1, 1, model.grid_size), found, model.image_size)
    expected = standard_scores(oddness(model.trunk.patch_embed.features(image))).view(model.grid_size)
    assert np.allclose(self_similarity(seen), expected.numpy(), atol=1e-4)


def test_the_inspector_uses_it_records_it_and_drops_a_threshold_not_measured_with_it():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    plain, more = Inspector(self_similarity=0.0), Inspector(self_similarity=3.0)
    assert more.describe()["self_similarity"] == 3.0
    assert more.point is None
    assert not np.allclose(plain.inspect(image).heatmap, more.inspect(image).heatmap, atol=1e-3)


@pytest.mark.parametrize("term", ["self_similarity", "dark_lines"])
def test_contrast_prompts_are_not_given_it(term):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    prompts = PromptSet("t", ("the {object}",), ("the {object}",), "the same prompt on both sides")
    found = [
        Inspector(
            prompts=prompts, activation="logit", **{"self_similarity": 0, "dark_lines": 0, term: w}
        ).inspect(image)
        for w in (0.0, 1.0)
    ]
    assert np.abs(found[0].heatmap).max() < 1e-4
    assert np.abs(found[1].heatmap).max() > 0.5
