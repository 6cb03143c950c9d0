"""Baselines: what each finds by hand, against an independent computation, and all of them by one protocol."""

from pathlib import Path

import numpy as np
import pytest

from anomaly import prompts
from anomaly.comparison import ReferenceSet
from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.methods import known, padim, patchcore, winclip
from anomaly.methods.mahalanobis import lengths
from anomaly.methods.median_colour import MedianColour
from anomaly.methods.method import Asked, Found
from anomaly.methods.method_inspector import MethodInspector
from anomaly.methods.padim import Padim
from anomaly.methods.patchcore import Bank, PatchCore

GOLDEN = Path(__file__).parent / "golden" / "steervit"
FILES = {
    "model": str(GOLDEN / "steervit.pth"),
    "trunk": str(GOLDEN / "trunk.safetensors"),
    "text_encoder": str(GOLDEN / "tiny-roberta"),
    "device": "cpu",
}
DEFAULT = prompts.load("default")


def picture(seed=0, size_hw=(40, 60)):
    return np.random.default_rng(seed).integers(90, 110, (*size_hw, 3), np.uint8)


def stained(seed=0):
    image = picture(seed)
    image[10:16, 20:26] = (200, 40, 40)
    return image


def opened(name, **others):
    return known.open_method(name, Asked(DEFAULT, **{**FILES, **others}))


def test_median_colour_by_hand():
    image = np.full((3, 3, 3), 10, np.uint8)
    image[1, 1] = (13, 14, 10)
    found = MedianColour(Asked(DEFAULT)).find(image, "bottle")
    assert found.map[1, 1] == 5 and found.map.sum() == 5 and found.seen_hw == (3, 3)


def test_mahalanobis_against_scipy():
    from scipy.spatial.distance import mahalanobis

    features = np.random.default_rng(0).normal(size=(5, 6, 3)) @ np.diag([1, 2, 5])
    flat = features.reshape(-1, 3)
    inverse = np.linalg.inv(np.cov(flat.T, bias=True))
    expected = [mahalanobis(one, flat.mean(0), inverse) for one in flat]
    assert lengths(features, epsilon=0).ravel() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["median-colour", "mahalanobis"])
def test_a_stain_is_found_without_any_model(name):
    found = MethodInspector(opened(name)).inspect_batch([stained()], "bottle")[0]
    assert found.heatmap.shape == (40, 60) and found.is_anomalous is None
    y, x = np.unravel_index(found.heatmap.argmax(), (40, 60))
    assert 8 <= y < 18 and 18 <= x < 28 and found.score == pytest.approx(found.heatmap.max(), rel=0.2)


def test_unsteered_is_the_model_at_omega_0():
    from anomaly import Inspector

    method = MethodInspector(opened("unsteered"))
    plain = Inspector(**FILES, omega=0, activation="logit", prompts=prompts.from_texts(["the {object}"]))
    own, expected = method.inspect_batch([picture()], "bottle")[0], plain.inspect(picture(), "bottle")
    assert own.heatmap == pytest.approx(expected.heatmap, abs=1e-4)
    assert own.heatmap == pytest.approx(method.inspect_batch([picture()], "any other")[0].heatmap)


@pytest.mark.parametrize("name", ["token-mahalanobis", "late-fusion", "text-pooling"])
def test_frozen_trunks_give_a_map(name):
    found = opened(name).find(picture(), "bottle")
    assert np.isfinite(found.map).all() and found.map.std() > 0


def test_late_fusion_changes_a_head_s_map_little_and_at_0_not_at_all():
    without = opened("unsteered").find(picture(), "bottle").map
    assert opened("late-fusion", omega=0.0).find(picture(), "bottle").map == pytest.approx(without, abs=1e-5)
    assert not np.allclose(opened("late-fusion").find(picture(), "bottle").map, without)


def test_a_trained_late_fusion_needs_a_checkpoint_of_its_own():
    with pytest.raises(SteerAnomalyError, match="cross-attention after the last block only"):
        opened("trained-late-fusion").find(picture(), "bottle")


def test_a_trained_late_fusion_is_the_model_s_own_map():
    import torch

    from anomaly.methods.backbones import squashed
    from steervit.modeling.cross_attention import GatedCrossAttention

    method = opened("trained-late-fusion")
    model = method.backbone.model
    depth = len(model.trunk.blocks)
    layer = GatedCrossAttention(model.feature_dim)
    with torch.no_grad():
        next(p for name, p in layer.named_parameters() if "gate" in name).fill_(1)
    model.cross_attention = torch.nn.ModuleDict({str(depth): layer.eval()})
    found = method.find(picture(), "bottle")
    texts = DEFAULT.fill("bottle")
    with torch.inference_mode():
        images = squashed(method.backbone, picture()).expand(len(texts), -1, -1, -1)
        expected = model(images, texts, return_segmentation_logits=True).mean(0)
    assert found.map.ravel() == pytest.approx(expected.numpy(), abs=1e-4)


def test_features_of_good_pictures_are_averaged_over_neighbours():
    features = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    found = patchcore.near(features)
    assert found[1, 1] == pytest.approx(features[:3, :3].mean((0, 1)), abs=1e-6)
    assert found[0, 0] == pytest.approx(features[:2, :2].mean((0, 1)), abs=1e-6)


def test_patchcore_distances_against_scikit_learn(monkeypatch):
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    good = [rng.normal(size=(3, 4, 6)).astype(np.float32) for _ in range(3)]
    asked = rng.normal(size=(3, 4, 6)).astype(np.float32)
    method = opened("patchcore")
    method._learned = method.learn(good)
    monkeypatch.setattr(PatchCore, "features", lambda self, image: asked)
    every = np.concatenate([patchcore.near(one).reshape(-1, 6) for one in good])
    expected, _ = NearestNeighbors(n_neighbors=1).fit(every).kneighbors(patchcore.near(asked).reshape(-1, 6))
    assert method.find(picture(), "bottle").map.ravel() == pytest.approx(expected[:, 0], abs=1e-4)


def test_patchcore_s_image_score_by_hand():
    """The bank is 0 and 1; a patch at 3 is 2 from its nearest and 3 from the other: weight 1 - e^2/(e^2 + e^3)."""
    bank = Bank(np.array([[0.0], [1.0]], np.float32), np.array([0, 1], np.float32))
    patch = np.array([3.0], np.float32)
    expected = 2 * (1 - np.exp(2) / (np.exp(2) + np.exp(3)))
    assert patchcore.image_score(patch, bank.squared(patch[None])[0], bank) == pytest.approx(expected)


def test_a_large_bank_is_thinned_out(monkeypatch):
    monkeypatch.setattr(patchcore, "FEWEST", 5)
    good = [np.random.default_rng(i).normal(size=(4, 5, 3)) for i in range(4)]
    assert len(opened("patchcore").learn(good).patches) == 8


def test_padim_against_numpy_place_by_place():
    rng = np.random.default_rng(0)
    good = [rng.normal(size=(2, 3, 4)) * [1, 2, 3, 4] + 7 for _ in range(6)]
    asked = rng.normal(size=(2, 3, 4)) + 7
    places = opened("padim").learn(good)
    assert places.chosen.tolist() == [0, 1, 2, 3]
    stacked = np.stack(good)
    scaled = stacked / stacked.std((0, 1, 2))
    for y, x in np.ndindex(2, 3):
        here = scaled[:, y, x]
        inverse = np.linalg.inv(np.cov(here.T) + padim.EPSILON * np.eye(4))
        off = asked[y, x] / stacked.std((0, 1, 2)) - here.mean(0)
        assert places.distances(asked)[y, x] == pytest.approx(np.sqrt(off @ inverse @ off), rel=1e-4)


def test_padim_draws_a_hundred_channels_and_needs_two_pictures():
    good = [np.random.default_rng(i).normal(size=(1, 2, 150)) for i in range(3)]
    chosen = opened("padim").learn(good).chosen
    assert len(chosen) == 100 and len(set(chosen)) == 100
    with pytest.raises(SteerAnomalyError, match="two good pictures and more"):
        opened("padim").learn(good[:1])


@pytest.mark.parametrize("name", ["patchcore", "padim"])
def test_what_good_pictures_lack_is_found(name):
    inspector = MethodInspector(opened(name))
    good = ReferenceSet.of([picture(i) for i in range(1, 5)])
    knowing = inspector.with_references(good)
    odd, plain = knowing.inspect_batch([stained(9), picture(8)], "bottle")
    assert odd.score > plain.score and odd.heatmap.shape == (40, 60)
    assert knowing.describe()["company"].startswith("4 references") and "company" not in inspector.describe()
    with pytest.raises(SteerAnomalyError, match="has to see good pictures of bottle first"):
        inspector.inspect_batch([picture()], "bottle")
    with pytest.raises(SteerAnomalyError, match="has seen no good pictures"):
        inspector.method.find(picture(), "bottle")


def test_windows_by_hand_and_their_harmonic_mean():
    places = winclip.windows((2, 3), 2)
    assert places.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]
    found = winclip.spread(np.array([0.5, 0.25]), places, (2, 3))
    middle = 2 / (1 / 0.5 + 1 / 0.25)
    assert found == pytest.approx(np.array([[0.5, middle, 0.25]] * 2))
    assert winclip.windows((1, 2), 3).tolist() == [[0, 1]]
    assert len(winclip.windows((15, 15), 2)) == 196 and len(winclip.windows((15, 15), 3)) == 169


def test_names_and_what_there_is_not():
    assert len(known.names()) == len(set(known.names())) == 13
    with pytest.raises(SteerAnomalyError, match="patchcore"):
        opened("patchcor")
    with pytest.raises(SteerAnomalyError, match="compares with no good pictures"):
        opened("unsteered").fitted([], "bottle")


class Broken(MedianColour):
    def find(self, image, object):
        return Found(np.full((2, 2), np.nan, np.float32), (4, 4))


def test_values_that_are_not_finite_are_no_score():
    found = MethodInspector(Broken(Asked(DEFAULT))).inspect_batch([picture()], "bottle")[0]
    assert isinstance(found, NotJudged) and "not finite" in str(found)


def test_smoothing_belongs_to_the_settings():
    plain, smooth = (MethodInspector(MedianColour(Asked(DEFAULT)), sigma) for sigma in (0, 3))
    assert plain.describe()["settings_hash"] != smooth.describe()["settings_hash"]
    assert plain.inspect_batch([stained()], "x")[0].score > smooth.inspect_batch([stained()], "x")[0].score


def test_padim_class_says_what_it_is():
    assert Padim.needs_good and not MedianColour.needs_good


def test_a_map_of_a_baseline_follows_its_picture_where_that_is_asked():
    method = MedianColour(Asked(DEFAULT))
    plain, follows = (MethodInspector(method, 3, guided=radius) for radius in (0, 8))
    assert "guided" not in plain.describe() and follows.describe()["guided"] == 8
    assert plain.describe()["settings_hash"] != follows.describe()["settings_hash"]
    (before,), (after,) = (one.inspect_batch([stained()], "x") for one in (plain, follows))
    assert before.score == after.score and not np.allclose(before.heatmap, after.heatmap)
