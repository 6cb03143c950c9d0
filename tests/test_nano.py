"""The embedded model: that it ships, is small, is a real SteerViT, and listens to its text."""

from pathlib import Path

import numpy as np
import pytest
import torch

import steervit
from anomaly import Inspector
from anomaly.decision.threshold import TEXT_ALONE
from anomaly.prompts import from_texts
from steervit import SteerViT
from steervit.nano.scenes.scene import render_scene

FOLDER = Path(steervit.__file__).parent / "nano" / "weights"
HELD_OUT = range(810_000, 810_080)
TWO_KINDS = range(810_100, 810_112)


@pytest.fixture(scope="module")
def scenes():
    """Held-out scenes of parts that carry a defect of some size."""
    rendered = [render_scene(seed, 384) for seed in HELD_OUT]
    return [s for s in rendered if 0.003 < s.defects.mean() < 0.2 and 0.1 < s.layers["object"].mean() < 0.8]


def maps(scenes, text):
    inspector = Inspector("nano", prompts=from_texts([text]), activation="softmax", **TEXT_ALONE)
    return [inspector.inspect(scene.image, scene.object_name).heatmap for scene in scenes]


def share(heatmap, mask):
    return float(heatmap[mask].sum() / heatmap.sum())


def test_it_is_the_default_ships_with_a_card_and_is_small():
    assert Inspector().record.name == "nano"
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 20e6
    assert "## Limits" in (FOLDER / "MODEL_CARD.md").read_text()


def test_it_is_a_steervit_with_open_gates():
    model = SteerViT.from_pretrained("nano")
    assert all(layer.attn_gate.abs().item() > 0.05 for layer in model.cross_attention.values())
    image = torch.rand(1, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(image), model.trunk.forward_features(image))
    assert not torch.allclose(model(image, ["the crack"]), model(image), atol=1e-3)


@pytest.mark.slow
def test_the_object_and_the_anomaly_are_not_the_same_place(scenes):
    assert len(scenes) >= 10
    anomaly = maps(scenes, "the anomaly in the {object}")
    whole = maps(scenes, "the {object}")
    on_defect = [
        (share(a, s.defects), share(w, s.defects)) for a, w, s in zip(anomaly, whole, scenes, strict=True)
    ]
    assert np.mean([a > w for a, w in on_defect]) >= 0.65
    assert np.mean([a for a, _ in on_defect]) > 1.5 * np.mean([w for _, w in on_defect])
    on_part = [
        share(w, s.layers["object"]) - s.layers["object"].mean() for w, s in zip(whole, scenes, strict=True)
    ]
    assert np.mean(on_part) > 0.1  # "the <object>" lies on the object


@pytest.mark.slow
def test_it_tells_two_kinds_of_defect_apart_by_name():
    mass = []
    for scene in (render_scene(seed, 384, several=True) for seed in TWO_KINDS):
        if len(scene.kinds) < 2:
            continue
        for named, other in (scene.kinds[:2], scene.kinds[1::-1]):
            (heatmap,) = maps([scene], f"the {named} on the {{object}}")
            apart = scene.layers[named] & ~scene.layers[other], scene.layers[other] & ~scene.layers[named]
            mass.append([share(heatmap, mask) for mask in apart])
    named, other = np.mean(mass, 0)
    assert len(mass) >= 16
    assert named > 2 * other


@pytest.mark.slow
def test_it_finds_more_than_chance_on_held_out_scenes(scenes):
    from anomaly.metrics import PixelMetrics

    inspector, metrics = Inspector(), PixelMetrics()
    for scene in scenes:
        metrics.update(inspector.inspect(scene.image, scene.object_name).heatmap, scene.defects)
    assert metrics.compute()["auroc"] > 0.7


@pytest.mark.slow
def test_any_name_can_be_asked_for(scenes):
    for name in ("Größenmaß", "螺丝", "x" * 300, "🔩"):
        assert np.isfinite(Inspector().inspect(scenes[0].image, name).heatmap).all()


def test_a_threshold_ships_and_belongs_to_these_weights():
    inspector = Inspector()
    assert inspector.point is not None
    assert 0 < inspector.point.false_alarm_rate <= 0.2
    assert inspector.point.mask_threshold <= inspector.point.threshold
    assert Inspector(smooth=9.0).point is None  # other settings: no threshold was measured


@pytest.mark.slow
def test_defective_scenes_score_above_good_ones():
    """The ranking of images, not only of pixels: a part with good maps may still be ranked upside down."""
    from anomaly.metrics import ImageMetrics

    inspector, metrics = Inspector(), ImageMetrics()
    for scene in (render_scene(seed, 384) for seed in range(820_000, 820_060)):
        if not scene.kinds or 0.003 < scene.defects.mean() < 0.2:
            metrics.update(inspector.inspect(scene.image, scene.object_name).score, bool(scene.kinds))
    assert metrics.compute()["auroc"] > 0.65  # 0.81 when this was written
