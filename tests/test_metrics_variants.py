"""The 200-threshold variant, SegF1 and coverage per region against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_witness import draw
from skimage.measure import label, regionprops

from anomaly.errors import SteerAnomalyError
from anomaly.metrics import PixelMetrics, SegF1, calpro200


def literature(samples, limit=0.3):
    """The definition word for word: a loop over thresholds and regions."""
    maps = np.stack([score_map for score_map, _ in samples]).astype(np.float64)
    masks = np.stack([mask for _, mask in samples])
    lowest, highest = maps.min(), maps.max()
    points = []
    for step in range(200):
        found = maps > lowest + (highest - lowest) / 200 * step
        coverage = [
            found[number][tuple(region.coords.T)].mean()
            for number, mask in enumerate(masks)
            for region in regionprops(label(mask, connectivity=2))
        ]
        points.append((found[masks == 0].mean(), np.mean(coverage)))
    fpr, pro = np.array(points).T
    keep = fpr < limit
    fpr, pro = fpr[keep], pro[keep]
    fpr = (fpr - fpr.min()) / (fpr.max() - fpr.min())
    return -np.trapezoid(pro, fpr)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 2])
def test_calpro200_agrees_with_the_loop(seed, levels):
    samples = draw(seed, levels=levels)
    for limit in (0.3, 0.05):
        result = calpro200(samples, limit=limit)
        assert result["pro_calpro200"] == pytest.approx(literature(samples, limit), abs=1e-12)
    assert result.provenance["pro_calpro200"].limit == 0.05


def test_calpro200_scores_on_the_edges():
    # Scores that are thresholds themselves: detected is strictly above.
    random = np.random.default_rng(0)
    scores = (random.integers(0, 201, (2, 20, 20)) / 200).astype(np.float32)
    scores[0, 0, :2] = 0, 1
    masks = (random.random((2, 20, 20)) < 0.2).astype(np.uint8)
    samples = list(zip(scores, masks, strict=True))
    assert calpro200(samples)["pro_calpro200"] == pytest.approx(literature(samples), abs=1e-12)


def test_calpro200_moves_under_an_increasing_transform_and_ours_does_not():
    samples = draw(3, images=6, size=30)
    skewed = [(np.exp(3 * scores).astype(np.float32), mask) for scores, mask in samples]
    assert abs(calpro200(samples)["pro_calpro200"] - calpro200(skewed)["pro_calpro200"]) > 0.01
    ours = []
    for found in (samples, skewed):
        metrics = PixelMetrics()
        for sample in found:
            metrics.update(*sample)
        ours.append(metrics.compute()["pro"])
    assert ours[0] == ours[1]


def test_calpro200_resizes_and_says_so():
    samples = draw(1, size=24)
    result = calpro200(samples, size_hw=(12, 10))
    assert result.provenance["pro_calpro200"].resolution == "10 x 12 pixels"
    assert calpro200(samples, size_hw=(24, 24))["pro_calpro200"] == calpro200(samples)["pro_calpro200"]


def test_calpro200_undefined_and_refused():
    flat = [(np.ones((4, 4), np.float32), np.eye(4, dtype=np.uint8))]
    result = calpro200(flat)
    assert result["pro_calpro200"] is None and "false-positive rates" in result.undefined["pro_calpro200"]
    assert calpro200([(np.ones((4, 4), np.float32), None)])["pro_calpro200"] is None
    with pytest.raises(SteerAnomalyError, match="generator"):
        calpro200(sample for sample in flat)
    with pytest.raises(SteerAnomalyError, match="at least one map"):
        calpro200([])
    with pytest.raises(SteerAnomalyError, match="infinite"):
        calpro200([(np.array([[0, np.inf]], np.float32), None)])


def test_seg_f1_by_hand():
    metric = SegF1()
    metric.update(np.array([[1, 1, 0, 0]], bool), np.array([[255, 0, 255, 0]], np.uint8))
    metric.update(np.array([[0, 0, 1, 0]], bool))
    result = metric.compute()
    assert (result["seg_f1"], result["precision"], result["recall"]) == (2 / 5, 1 / 3, 1 / 2)
    again = SegF1.from_state(metric.state())
    again.merge(metric)
    assert dict(again.compute()) == dict(result)


def test_seg_f1_undefined_and_refused():
    assert set(SegF1().compute().undefined) == {"seg_f1", "precision", "recall"}
    with pytest.raises(SteerAnomalyError, match="bool or integers"):
        SegF1().update(np.zeros((2, 2)), None)
    with pytest.raises(SteerAnomalyError, match="H x W"):
        SegF1().update(np.zeros(3, bool))


def test_seg_f1_at_the_best_threshold_is_f1_max():
    samples = draw(2, levels=3)
    metrics = PixelMetrics()
    for sample in samples:
        metrics.update(*sample)
    best = metrics.compute()
    metric = SegF1()
    for score_map, mask in samples:
        metric.update(score_map >= np.float32(best["threshold"]), mask)
    assert metric.compute()["seg_f1"] == pytest.approx(best["f1_max"], abs=1e-12)
