"""Image metrics against hand-solved cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anomaly.errors import SteerAnomalyError
from anomaly.metrics import ImageMetrics


def measured(pairs):
    metrics = ImageMetrics()
    for score, defective in pairs:
        metrics.update(score, defective)
    return metrics


def test_by_hand():
    result = measured([(0.9, True), (0.8, False), (0.7, True), (0.1, False)]).compute()
    assert result["auroc"] == 0.75
    assert result["ap"] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert result["f1_max"] == pytest.approx(0.8)
    assert result["threshold"] == np.float32(0.7)


def test_all_equal_scores():
    result = measured([(0.5, True), (0.5, False), (0.5, False), (0.5, False)]).compute()
    assert (result["auroc"], result["ap"], result["f1_max"]) == (0.5, 0.25, 0.4)


def test_good_only_and_defective_only():
    good = measured([(1.0, False)]).compute()
    assert set(good.undefined) == {"auroc", "ap", "f1_max", "threshold"}
    bad = measured([(1.0, True), (2.0, True)]).compute()
    assert set(bad.undefined) == {"auroc"} and "defect-free images" in bad.undefined["auroc"]
    assert (bad["ap"], bad["f1_max"], bad["threshold"]) == (1, 1, 1)
    assert set(ImageMetrics().compute().undefined) == {"auroc", "ap", "f1_max", "threshold"}


pairs = st.lists(st.tuples(st.floats(-2, 2, width=16), st.booleans()), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(pairs.filter(lambda found: 0 < sum(label for _, label in found) < len(found)), st.integers(0, 30))
def test_scikit_learn_and_merge(found, cut):
    scores, truth = zip(*found, strict=True)
    result = measured(found).compute()
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert result["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert result["ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert result["f1_max"] == pytest.approx(f1.max(), abs=1e-12)
    merged = ImageMetrics.from_state(measured(found[cut:]).state())
    merged.merge(measured(found[:cut]))
    assert dict(merged.compute()) == dict(result)
    for name, array in measured(found).state().items():
        np.testing.assert_array_equal(array, merged.state()[name])


def test_nan_is_refused():
    metrics = ImageMetrics()
    with pytest.raises(SteerAnomalyError, match="NaN"):
        metrics.update(float("nan"), True)
    assert metrics.compute().counts["images"] == 0
