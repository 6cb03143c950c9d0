"""Pixel metrics against cases solved by hand, a brute force, scikit-learn, and the properties promised."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metrics_witness import brute_force, draw
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anomaly.errors import SteerAnomalyError
from anomaly.metrics import PixelMetrics

FIGURES = ("auroc", "ap", "f1_max", "threshold", "pro")
quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def measured(samples, **options):
    metrics = PixelMetrics(**options)
    for score_map, mask in samples:
        metrics.update(score_map, mask)
    return metrics


def assert_same_state(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def as_map(rows):
    return np.array(rows, np.float32)


# ---- solved by hand


def test_one_region_one_mistake():
    # Defective 4 and 2, defect-free 3 and 1: of four pairs, three are in order.
    # Curve (FPR, coverage): (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1); flat at 1/2 up to 0.3.
    result = measured([(as_map([[4, 2, 3, 1]]), as_map([[1, 1, 0, 0]]) > 0)]).compute()
    assert result["auroc"] == 0.75
    assert result["pro"] == pytest.approx(0.5)
    assert result["f1_max"] == pytest.approx(0.8)  # at 2: TP 2, FP 1
    assert result["threshold"] == 2
    assert result["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_every_region_counts_the_same_whatever_its_size():
    # A single pixel missed entirely, and a region of four found: coverage 1/2 at FPR 0.
    scores = as_map([[9, 9, 9, 9, 1, 0], [5, 5, 5, 5, 5, 5]])
    mask = np.array([[1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)
    assert measured([(scores, mask)]).compute()["pro"] == pytest.approx(0.5)


def test_touching_corners_make_one_region():
    # One region of two pixels at 8-connectivity. Found: one pixel of it, and the single-pixel region.
    scores = as_map([[9, 5, 5, 5], [5, 0, 5, 9], [5, 5, 5, 5]])
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    result = measured([(scores, mask)]).compute()
    assert result.counts["regions"] == 2
    # (1/2 + 1) / 2 at FPR 0 and at FPR 1, so everywhere below
    assert result["pro"] == pytest.approx(0.75)


def test_interpolation_at_the_limit():
    # Ten defect-free pixels: two at 3 like a defect pixel, eight at 1. FPR goes 0 -> 0.2 -> 1.
    # Coverage of the only region (pixels 3 and 1): 0 -> 1/2 -> 1 (all the rest ties at 1).
    scores = as_map([[3, 1, 3, 3, 1, 1], [1, 1, 1, 1, 1, 1]])
    mask = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
    at_limit = 0.5 + 0.5 * 0.1 / 0.8
    expected = (0.2 * 0.5 / 2 + 0.1 * (0.5 + at_limit) / 2) / 0.3
    assert measured([(scores, mask)]).compute()["pro"] == pytest.approx(expected, abs=1e-15)
    # A limit that is a point of the curve needs no interpolation.
    assert measured([(scores, mask)], limits=(0.2,)).compute()["pro"] == pytest.approx(0.25, abs=1e-15)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 0.5, -3e38, 1e-45, np.inf, -np.inf])
def test_constant_maps_know_nothing(value):
    mask = np.zeros((5, 8), bool)
    mask[1:3, 1:6] = True
    samples = [(np.full((5, 8), value, np.float32), mask)]
    result = measured(samples).compute(limits=(0.3, 0.05))
    assert result["auroc"] == 0.5
    assert result["ap"] == pytest.approx(10 / 40)
    assert result["f1_max"] == pytest.approx(2 * 10 / (40 + 10))
    assert result["threshold"] == np.float32(value)
    assert result["pro"] == pytest.approx(0.15)
    assert result["pro@0.05"] == pytest.approx(0.025)


def test_perfect_maps():
    mask = np.eye(6, dtype=np.uint8)
    result = measured([(mask.astype(np.float32), mask)]).compute()
    assert [result[name] for name in FIGURES] == [1, 1, 1, 1, 1]
    assert result.counts["regions"] == 1


def test_negative_and_positive_zero_tie():
    scores = as_map([[0.0, -0.0]])
    assert measured([(scores, np.array([[1, 0]]))]).compute()["auroc"] == 0.5


# ---- brute force and scikit-learn


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_agrees_with_brute_force(seed, levels, limit):
    samples = draw(seed, levels=levels)
    result, expected = measured(samples, limits=(limit,)).compute(), brute_force(samples, limit)
    for name in FIGURES:
        assert result[name] == pytest.approx(expected[name], abs=1e-11), name
    assert result.provenance["pro"].computed == "exact"
    assert set(result.error_bound.values()) == {0.0}


def test_agrees_with_scikit_learn():
    samples = draw(7, images=10, size=40, levels=20)
    truth = np.concatenate([mask.ravel() for _, mask in samples])
    scores = np.concatenate([score_map.ravel() for score_map, _ in samples])
    precision, recall, _ = precision_recall_curve(truth, scores)
    result = measured(samples).compute()
    assert result["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert result["ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert result["f1_max"] == pytest.approx(f1.max(), abs=1e-12)


def test_threshold_reproduces_the_figure_when_scores_are_grouped():
    samples = draw(3, images=6, size=40)
    result = measured(samples, budget=300).compute()
    assert "bits of the score dropped" in result.provenance["auroc"].computed
    scores = np.stack([score_map for score_map, _ in samples])
    truth = np.stack([mask for _, mask in samples]) != 0
    found = scores >= np.float32(result["threshold"])
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) == pytest.approx(result["f1_max"])


# ---- properties

maps = arrays(np.float32, (4, 5), elements=st.floats(-3, 3, width=16))
masks = arrays(np.uint8, (4, 5), elements=st.integers(0, 1))
sets = st.lists(st.tuples(maps, masks), min_size=1, max_size=6)


def defined(samples):
    truth = np.concatenate([mask.ravel() for _, mask in samples])
    return 0 < truth.sum() < truth.size


@quick
@given(sets.filter(defined))
def test_property_brute_force(samples):
    result, expected = measured(samples).compute(), brute_force(samples)
    for name in FIGURES:
        assert result[name] == pytest.approx(expected[name], abs=1e-11), name


@quick
@given(sets, st.sampled_from([lambda x: np.exp(x * 8), lambda x: x**3 * 1e30, lambda x: 1e-3 * x + 40]))
def test_property_increasing_transforms_change_nothing(samples, transform):
    # Half-precision scores, so that float32 keeps the transformed ones apart.
    moved = [(transform(scores.astype(np.float64)).astype(np.float32), mask) for scores, mask in samples]
    distinct = np.unique(np.stack([scores + np.float32(0) for scores, _ in samples])).size
    if np.unique(np.stack([scores for scores, _ in moved]) + np.float32(0)).size != distinct:
        return
    before, after = measured(samples).compute(), measured(moved).compute()
    for name in ("auroc", "ap", "f1_max", "pro"):
        assert before[name] == after[name], name


@quick
@given(sets, st.integers(2, 60), st.data())
def test_property_any_split_and_order_gives_the_same_bits(samples, budget, data):
    whole = measured(samples, budget=budget)
    shuffled = data.draw(st.permutations(samples))
    parts = [PixelMetrics(budget=budget) for _ in range(3)]
    for sample in shuffled:
        data.draw(st.sampled_from(parts)).update(*sample)
    for part in parts:
        if data.draw(st.booleans()):
            part.compute()  # looking in between changes nothing
    total = PixelMetrics(budget=budget)
    for part in data.draw(st.permutations(parts)):
        total.merge(PixelMetrics.from_state(part.state()) if data.draw(st.booleans()) else part)
    assert_same_state(whole.state(), total.state())
    assert dict(whole.compute()) == dict(total.compute())


@quick
@given(sets.filter(defined), st.integers(2, 20))
def test_property_error_bounds_hold(samples, budget):
    exact, grouped = measured(samples).compute(), measured(samples, budget=budget).compute()
    for name in ("auroc", "ap", "f1_max", "pro"):
        assert abs(exact[name] - grouped[name]) <= grouped.error_bound[name] + 1e-11, name


# ---- large sets, by the dense path


def large_samples(transform):
    random = np.random.default_rng(5)
    samples = []
    for number in range(6):
        rows, columns = np.mgrid[:500, :500] / 500
        mask = (np.hypot(rows - random.random(), columns - random.random()) < 0.1 * (number % 3)).astype(
            np.uint8
        )
        noise = random.normal(size=(500, 500)) + 1.5 * mask
        samples.append((transform(noise).astype(np.float32), mask))
    return samples


TRANSFORMS = {
    "signed": lambda x: x,
    "softmax": lambda x: np.exp(6 * x - 30),
    "saturated sigmoid": lambda x: 1 / (1 + np.exp(-5 * x)),
    "tanh": lambda x: np.tanh(2 * x),
    "narrow": lambda x: 0.5 + 1e-5 * x,
    "huge": lambda x: x * 1e30,
    "subnormal": lambda x: np.exp(x) * 1e-41,
    "clipped": lambda x: np.clip(x, 0, 1),
}


def exact_figures(samples):
    """Sorted exactly, by scikit-learn; PRO as a weighted true-positive rate."""
    from skimage.measure import label
    from sklearn.metrics import roc_curve

    truth, scores, weights = [], [], []
    for score_map, mask in samples:
        labels = label(mask, connectivity=2)
        area = np.bincount(labels.ravel())
        weights.append(np.where(labels > 0, 1 / area[labels], 1).ravel())
        truth.append(mask.ravel())
        scores.append(score_map.ravel())
    truth, scores, weights = np.concatenate(truth), np.concatenate(scores), np.concatenate(weights)
    precision, recall, _ = precision_recall_curve(truth, scores)
    fpr, pro, _ = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    inside = fpr <= 0.3
    x, y = np.append(fpr[inside], 0.3), np.append(pro[inside], np.interp(0.3, fpr, pro))
    return {
        "auroc": roc_auc_score(truth, scores),
        "ap": average_precision_score(truth, scores),
        "f1_max": (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max(),
        "pro": np.trapezoid(y, x) / 0.3,
    }


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.slow
def test_large_sets_stay_within_the_promised_error(name):
    # A smaller budget than the default, so that these few maps are grouped at all.
    samples = large_samples(TRANSFORMS[name])
    metrics = PixelMetrics(budget=1 << 18)
    metrics._all._buffer = 1 << 19
    for sample in samples:
        metrics.update(*sample)
    assert metrics._all._pages is not None
    result, expected = metrics.compute(), exact_figures(samples)
    assert abs(result["auroc"] - expected["auroc"]) <= 1e-5
    assert abs(result["pro"] - expected["pro"]) <= 1e-5
    assert abs(result["f1_max"] - expected["f1_max"]) <= 1e-4
    assert abs(result["ap"] - expected["ap"]) <= result.error_bound["ap"] + 1e-9


def test_dense_and_sorted_counting_agree(monkeypatch):
    samples = draw(11, images=12, size=60)
    expected = measured(samples, budget=2000).state()
    for cells in (1 << 11, 1 << 15, 1 << 22):
        monkeypatch.setattr("anomaly.metrics.pages.MAX_CELLS", cells)
        metrics = PixelMetrics(budget=2000)
        metrics._all._buffer = 5000
        for sample in samples:
            metrics.update(*sample)
        assert (metrics._all._pages is not None) == (cells > 1 << 11)
        assert_same_state(expected, metrics.state())


def test_half_precision_maps_are_counted_in_pages_until_others_come(monkeypatch):
    monkeypatch.setattr("anomaly.metrics.pages.MAX_CELLS", 1 << 18)
    halves = [(scores.astype(np.float16), mask) for scores, mask in draw(2, images=6, size=60)]
    samples = halves + draw(3, images=2, size=60)
    metrics = PixelMetrics()
    metrics._all._buffer = 3000
    for sample in halves:
        metrics.update(*sample)
    assert metrics._all._pages is not None
    for sample in samples[len(halves) :]:
        metrics.update(*sample)
    assert_same_state(measured(samples).state(), metrics.state())


def test_wide_counters_take_over(monkeypatch):
    monkeypatch.setattr("anomaly.metrics.pages.SMALL_TOTAL", 1000)
    samples = draw(2, images=6, size=30, levels=3)
    metrics = PixelMetrics()
    metrics._all._buffer = 500
    for sample in samples:
        metrics.update(*sample)
    assert metrics._all._pages is not None
    assert_same_state(measured(samples).state(), metrics.state())


def test_defect_pixels_are_gathered_before_they_pile_up(monkeypatch):
    monkeypatch.setattr("anomaly.metrics.pixel._DefectHistogram.LIMIT", 50)
    samples = draw(4, images=8, size=30)
    metrics = measured(samples, budget=200)
    assert len(metrics._defects._parts) < 4
    monkeypatch.undo()
    assert_same_state(measured(samples, budget=200).state(), metrics.state())


# ---- sets that lack something, bad input, state


def test_good_only():
    result = measured([(np.zeros((3, 3), np.float32), None)]).compute()
    assert all(result[name] is None for name in FIGURES)
    assert all("no defective pixels" in result.undefined[name] for name in FIGURES)
    assert result.counts["images"] == 1


def test_nothing_at_all():
    result = PixelMetrics().compute()
    assert all(result[name] is None for name in FIGURES)
    assert result.curves.fpr.size == 1


def test_defective_pixels_only():
    result = measured([(as_map([[1, 2]]), np.ones((1, 2), bool))]).compute()
    assert (result["auroc"], result["pro"]) == (None, None)
    assert "no defect-free pixels" in result.undefined["pro"]
    assert (result["ap"], result["f1_max"], result["threshold"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("score_map", "mask", "words"),
    [
        (as_map([[1, np.nan]]), None, "NaN in 1 of 2 pixels"),
        (np.zeros((2, 2, 1), np.float32), None, "H x W"),
        (np.zeros((0, 2), np.float32), None, "H x W"),
        (np.zeros((2, 2), complex), None, "real numbers"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 3), bool), "map's shape"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), "bool or integers"),
    ],
)
def test_bad_input_counts_nothing(score_map, mask, words):
    metrics = measured(draw(0))
    before = metrics.state()
    with pytest.raises(SteerAnomalyError, match=words):
        metrics.update(score_map, mask)
    assert_same_state(before, metrics.state())


@pytest.mark.parametrize("limits", [(), (0,), (1.5,), (0.3, 0.3), (float("nan"),)])
def test_bad_limits(limits):
    with pytest.raises(SteerAnomalyError, match="limits"):
        PixelMetrics(limits)


def test_mask_values_and_dtypes_mean_the_same():
    scores, mask = draw(1)[1]
    expected = measured([(scores, mask)]).state()
    for other in (mask.astype(bool), mask * 255, mask.astype(np.int64) * 7, mask[::1, ::1].astype(np.uint16)):
        assert_same_state(expected, measured([(scores, other)]).state())


def test_views_and_other_dtypes_of_maps():
    scores, mask = draw(1, levels=2)[1]
    expected = dict(measured([(scores, mask)]).compute())
    assert dict(measured([(scores.T.copy().T, mask)]).compute()) == expected
    assert dict(measured([(scores.astype(np.float64), mask)]).compute()) == expected
    assert dict(measured([(scores.astype(np.float16), mask)]).compute()) == expected


def test_state_survives_a_file_and_counting_goes_on(tmp_path):
    samples = draw(9, images=6)
    metrics = measured(samples[:3], budget=64)
    np.savez(tmp_path / "state.npz", **metrics.state())
    with np.load(tmp_path / "state.npz") as saved:
        resumed = PixelMetrics.from_state(saved, limits=(0.05,))
    for sample in samples[3:]:
        resumed.update(*sample)
    assert_same_state(measured(samples, budget=64).state(), resumed.state())
    assert resumed.compute().provenance["pro"].limit == 0.05


def test_a_state_of_another_format_is_refused():
    state = PixelMetrics().state()
    state["header"] = state["header"] + [1, 0, 0]
    with pytest.raises(SteerAnomalyError, match="format"):
        PixelMetrics.from_state(state)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="budget"):
        PixelMetrics(budget=0)


def test_merging_different_budgets_is_refused():
    with pytest.raises(ValueError, match="budget"):
        PixelMetrics(budget=8).merge(PixelMetrics(budget=9))


def test_merging_with_itself_counts_twice():
    metrics = measured(draw(0))
    metrics.merge(metrics)
    assert_same_state(measured(draw(0) * 2).state(), metrics.state())


def test_curves_and_provenance():
    result = measured(draw(5), limits=(0.3, 0.05), resolution="original").compute()
    curves = result.curves
    assert (curves.fpr[0], curves.tpr[0], curves.pro[0]) == (0, 0, 0)
    assert curves.fpr[-1] == curves.tpr[-1] == 1 and curves.pro[-1] == pytest.approx(1)
    assert np.all(np.diff(curves.fpr) >= 0) and np.all(np.diff(curves.thresholds) < 0)
    assert np.trapezoid(curves.tpr, curves.fpr) == pytest.approx(result["auroc"], abs=1e-9)
    entry = result.provenance["pro@0.05"]
    assert (entry.connectivity, entry.limit, entry.resolution) == (8, 0.05, "original")
    assert list(result) == ["auroc", "ap", "f1_max", "threshold", "pro", "pro@0.05"]
    assert result.to_dict()["values"]["pro"] == result["pro"]


def test_import_is_light():
    code = (
        "import sys, anomaly.metrics; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
