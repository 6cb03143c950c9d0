"""Thresholds, p-values and intervals: by hand, against crepes, and by simulation."""

from itertools import pairwise

import numpy as np
import pytest
from crepes import ConformalRegressor
from crepes.base import p_values_batch
from scipy.stats import beta, norm

from anomaly.decision.calibration import Calibration, choices, false_alarms, measured, misses
from anomaly.decision.promise import Scoring, promised
from anomaly.errors import SteerAnomalyError

TIED = Calibration((3.0, 1.0, 2.0, 2.0, 5.0))


def drawn(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def test_thresholds_and_p_values_by_hand():
    assert [TIED.threshold(rank) for rank in (1, 2, 3, 4, 5)] == [5, 3, 2, 2, 1]
    assert TIED.p_value(6) == pytest.approx(1 / 6)
    assert TIED.p_value(5) == pytest.approx(2 / 6)
    assert TIED.p_value(2) == pytest.approx(5 / 6)
    assert TIED.p_value(0) == 1
    assert TIED.spreads(2) == 0
    assert TIED.spreads(5) == pytest.approx(3 / 1.4826)


def test_a_threshold_outside_the_ranks_is_refused():
    for rank in (0, 6):
        with pytest.raises(SteerAnomalyError, match="rank from 1 to 5"):
            TIED.threshold(rank)


def test_p_values_are_those_of_crepes():
    known, new = np.round(drawn(40), 1), np.round(drawn(60, 1), 1)
    calibration = Calibration(tuple(known))
    theirs = p_values_batch(known, new, smoothing=False)
    assert np.allclose([calibration.p_value(score) for score in new], theirs, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_thresholds_are_the_half_widths_of_crepes(rank):
    scores = np.abs(drawn(40))
    regressor = ConformalRegressor().fit(residuals=scores)
    confidence = 1 - (rank + 1e-9) / 41  # crepes rounds the rank down
    high = regressor.predict_int(np.zeros(1), confidence=confidence)[0, 1]
    assert Calibration(tuple(scores)).threshold(rank) == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_an_alarm_and_a_low_p_value_are_the_same(rank):
    known, new = np.round(drawn(30), 1), np.round(drawn(200, 1), 1)
    calibration = Calibration(tuple(known))
    threshold = calibration.threshold(rank)
    for score in new:
        assert (score > threshold) == (calibration.p_value(score) <= rank / 31 + 1e-12)


def test_the_true_rate_exceeds_the_bound_as_rarely_as_promised():
    """600 calibrations at 90 %: 10 % may exceed it; three standard errors are 3.7 points."""
    rng = np.random.default_rng(0)
    promise = promised(50, 0.1, 0.9)
    rates = [norm.sf(Calibration(tuple(rng.standard_normal(50))).threshold(promise.rank)) for _ in range(600)]
    assert 0.063 <= np.mean(np.array(rates) > promise.bound) <= 0.137
    assert np.mean(rates) == pytest.approx(promise.expected, rel=0.1)


def test_parts_count_once_by_their_oddest_picture():
    calibration = Calibration((1.0, 4.0, 2.0, 3.0), peaks=(9.0, 1.0, 2.0, 3.0), parts=(7, 7, 5, 9))
    assert calibration.n == 3
    assert calibration.ascending.tolist() == [2, 3, 4]
    assert calibration.mask_level(1) == 9
    assert calibration.mask_level(3) == 2
    assert "4 pictures show 3 parts" in calibration.remarks()[0]


def test_below_the_mask_level_good_parts_are_empty():
    maps = np.random.default_rng(0).random((12, 6, 6))
    scores, peaks = tuple(maps.mean(axis=(1, 2))), tuple(maps.max(axis=(1, 2)))
    level = Calibration(scores, peaks).mask_level(2)
    assert sum((one > level).any() for one in maps) == 1
    assert Calibration(scores).mask_level(2) is None


@pytest.mark.parametrize("values", [(0.1, float("nan")), (float("inf"),)])
def test_scores_that_are_no_numbers_are_refused(values):
    with pytest.raises(SteerAnomalyError, match=f"in place {len(values)} of {len(values)}"):
        Calibration(values)
    with pytest.raises(SteerAnomalyError, match="finite map maxima"):
        Calibration((1.0,) * len(values), values)
    with pytest.raises(SteerAnomalyError, match="finite scores"):
        Calibration((1.0,)).p_value(values[-1])


def test_no_scores_and_unequal_lists_are_refused():
    with pytest.raises(SteerAnomalyError, match="got none"):
        Calibration(())
    with pytest.raises(SteerAnomalyError, match="2 map maxima, one per score, got 1"):
        Calibration((1.0, 2.0), (1.0,))
    with pytest.raises(SteerAnomalyError, match="2 parts, one per score, got 3"):
        Calibration((1.0, 2.0), None, (0, 1, 2))


def test_identical_scores_and_few_are_said():
    same = Calibration((0.5,) * 20)
    assert same.threshold(1) == 0.5
    assert same.p_value(0.5) == 1
    assert same.p_value(0.6) == pytest.approx(1 / 21)
    assert same.spreads(0.6) is None
    assert "exactly the same" in same.remarks()[0]
    assert "Only 1 good part:" in Calibration((0.5,)).remarks()[0]
    assert "Only 2 good parts:" in Calibration((0.5, 0.6)).remarks()[0]
    assert Calibration((1.0, 2.0, 3.0), scoring=Scoring()).remarks() == ()


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (7, 63), (20, 20)])
def test_intervals_are_clopper_and_pearsons(count, total):
    found = measured(count, total)
    low = 0 if count == 0 else beta.ppf(0.025, count, total - count + 1)
    high = 1 if count == total else beta.ppf(0.975, count + 1, total - count)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_misses_and_false_alarms_by_hand():
    found = misses(2.0, (1.0, 2.0, 3.0, 4.0))
    assert (found.count, found.total, found.rate) == (2, 4, 0.5)
    assert false_alarms(2.0, (1.0, 2.0, 3.0)).count == 1
    assert (
        measured(0, 20).sentence("defects missed")
        == "0 of 20 defects missed (0 %; 95 % interval 0 % to 16.8 %)."
    )
    for wrong in ((), (float("nan"),)):
        with pytest.raises(SteerAnomalyError):
            misses(2.0, wrong)


def test_the_trade_off_runs_from_few_alarms_to_few_misses():
    rows = choices(Calibration(tuple(drawn(500))), 0.95, tuple(drawn(50) + 2), most=50)
    assert (rows[0].rank, rows[-1].rank, len(rows)) == (1, 500, 50)
    assert all(a.bound < b.bound and a.threshold > b.threshold for a, b in pairwise(rows))
    assert rows[0].misses.rate > rows[-1].misses.rate
    assert choices(TIED, 0.95)[0].misses is None
