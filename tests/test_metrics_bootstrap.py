"""Bootstrap against drawing the images themselves, and what it must find."""

from __future__ import annotations

import numpy as np
import pytest
from metrics_witness import draw

from anomaly.errors import SteerAnomalyError
from anomaly.metrics import (
    ImageMetrics,
    ImageSamples,
    PixelMetrics,
    PixelSamples,
    confidence_intervals,
    paired_difference,
)


def pixel_samples(samples):
    found = PixelSamples()
    for sample in samples:
        found.update(*sample)
    return found


def test_a_draw_is_what_evaluating_the_drawn_images_gives():
    samples = draw(0, images=8, size=16)
    taken = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8))
    metrics = PixelMetrics()
    for times, sample in zip(taken, samples, strict=True):
        for _ in range(times):
            metrics.update(*sample)
    expected, got = metrics.compute(), pixel_samples(samples).draw()(taken)
    for name in ("auroc", "ap", "f1_max", "pro"):
        assert got[name] == pytest.approx(expected[name], abs=1e-9), name


def test_grouped_histograms_stay_close(monkeypatch):
    samples = draw(0, images=8, size=60)
    monkeypatch.setattr("anomaly.metrics.bootstrap.IMAGE_BUDGET", 1000)
    monkeypatch.setattr("anomaly.metrics.bootstrap.SHARED_BUDGET", 1000)
    metrics = PixelMetrics()
    for sample in samples:
        metrics.update(*sample)
    expected, got = metrics.compute(), pixel_samples(samples).draw()(np.ones(8, int))
    for name in ("auroc", "ap", "f1_max", "pro"):
        assert got[name] == pytest.approx(expected[name], abs=1e-2), name


def image_samples(seed, shift, images=60):
    random = np.random.default_rng(seed)
    found, metrics = ImageSamples(), ImageMetrics()
    for number in range(images):
        score = random.normal() + shift * (number % 2)
        found.update(score, number % 2 == 1)
        metrics.update(score, number % 2 == 1)
    return found, metrics


def test_image_intervals_hold_the_figure_and_are_seeded():
    found, metrics = image_samples(0, 1.0)
    first, again = confidence_intervals(found, draws=200), confidence_intervals(found, draws=200)
    assert first == again
    assert confidence_intervals(found, draws=200, seed=1) != first
    for name, interval in first.items():
        assert interval.value == pytest.approx(metrics.compute()[name], abs=1e-12)
        assert interval.low < interval.value < interval.high
    # 30 against 30 images at AUROC near 0.76: the interval is about 0.2 wide (Hanley and McNeil 1982: 0.24).
    assert 0.12 < first["auroc"].high - first["auroc"].low < 0.36


def test_paired_difference_sees_a_better_method_and_no_difference_to_itself():
    better, worse = image_samples(0, 3.0)[0], image_samples(0, 0.5)[0]
    difference = paired_difference(better, worse, draws=300)["auroc"]
    assert difference.interval.low > 0 and difference.p_value < 0.02
    same = paired_difference(better, better, draws=50)["auroc"]
    assert (same.interval.low, same.interval.high, same.p_value) == (0, 0, 1)


def test_paired_pixels():
    samples = draw(3, images=10, size=20)
    noisy = [
        (np.random.default_rng(i).normal(size=m.shape).astype(np.float32), m)
        for i, (_, m) in enumerate(samples)
    ]
    difference = paired_difference(pixel_samples(samples), pixel_samples(noisy), draws=100)
    assert difference["pro"].interval.low > 0


def test_draws_without_a_defect_are_left_out():
    found = ImageSamples()
    for score, defective in ((1.0, True), (0.0, False), (0.5, False)):
        found.update(score, defective)
    interval = confidence_intervals(found, draws=100)["auroc"]
    assert 0 < interval.draws < 100


def test_good_only_has_no_interval():
    found = ImageSamples()
    found.update(1.0, False)
    interval = confidence_intervals(found, draws=5)["auroc"]
    assert (interval.value, interval.low, interval.draws) == (None, None, 0)


def test_refusals():
    found = image_samples(0, 1)[0]
    with pytest.raises(SteerAnomalyError, match="expected images"):
        confidence_intervals(ImageSamples())
    with pytest.raises(SteerAnomalyError, match="same images"):
        paired_difference(found, image_samples(0, 1, images=4)[0])
    with pytest.raises(SteerAnomalyError, match="NaN"):
        found.update(float("nan"), True)
