"""What may be promised of false alarms: hand numbers, binomial sums as a second witness, and the wording."""

import numpy as np
import pytest
from scipy.stats import binom

from anomaly.decision.promise import (
    Promise,
    Scoring,
    TooFewParts,
    expected_rate,
    largest_rank,
    parts_needed,
    percent,
    promised,
    upper_bound,
)
from anomaly.errors import SteerAnomalyError


@pytest.mark.parametrize(
    ("n", "expected", "bound"), [(20, 4.76, 13.91), (59, 1.67, 4.95), (299, 0.333, 0.997), (1, 50, 95)]
)
def test_the_largest_score_as_threshold(n, expected, bound):
    assert 100 * expected_rate(n, 1) == pytest.approx(expected, rel=5e-3)
    assert 100 * upper_bound(n, 1, 0.95) == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (20, 1), (20, 20), (100, 4), (313, 7)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_bound_solves_the_binomial_equation(n, rank, confidence):
    """The rate exceeds b only if fewer than `rank` of n scores fall into the upper tail of mass b."""
    bound = upper_bound(n, rank, confidence)
    assert binom.cdf(rank - 1, n, bound) == pytest.approx(1 - confidence, abs=1e-9)


def test_parts_needed_are_those_of_the_tables():
    assert [parts_needed(0.05, 0.95, rank) for rank in (1, 2, 3, 5, 10)] == [59, 93, 124, 181, 311]
    assert [parts_needed(0.01, c) for c in (0.8, 0.9, 0.95, 0.99)] == [161, 230, 299, 459]
    assert parts_needed(0.001, 0.95, 10) == 15702


@pytest.mark.parametrize(("n", "target"), [(58, 0.05), (59, 0.05), (93, 0.05), (500, 0.02), (7, 0.9)])
def test_the_rank_is_the_largest_that_keeps_the_bound(n, target):
    rank = largest_rank(n, target, 0.95)
    assert rank == 0 or upper_bound(n, rank, 0.95) <= target
    assert rank == n or upper_bound(n, rank + 1, 0.95) > target


def test_a_promise_that_can_be_kept():
    promise = promised(93, 0.05, 0.95)
    assert (promise.rank, promise.met, promise.guaranteed) == (2, True, True)
    assert "At most 1 of 93 good parts scored above the threshold" in promise.sentence()
    words = promised(20, None, 0.95).sentence()
    assert "None of 20" in words
    assert "expected to be 4.8 %" in words
    assert "at most 13.9 % with 95 % confidence" in words


def test_too_few_parts_say_what_can_be_promised_and_how_many_are_missing():
    with pytest.raises(
        TooFewParts, match=r"needs 299 good parts, got 20.* is 13.9 %.* Photograph 279 more, ask for 14 %"
    ) as caught:
        promised(20, 0.01, 0.95)
    assert caught.value.missing == 279
    assert caught.value.smallest == pytest.approx(0.1391, abs=1e-4)
    assert promised(20, 0.14, 0.95).met
    promise = promised(20, 0.01, 0.95, best_effort=True)
    assert not promise.met
    assert promise.sentence().endswith("The rate asked for, 1 %, is not kept.")


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_parts_give_an_honest_bound(n):
    with pytest.raises(TooFewParts):
        promised(n, 0.05, 0.95)
    bound = promised(n, 0.05, 0.95, best_effort=True).bound
    assert bound == pytest.approx(1 - 0.05 ** (1 / n))


def test_impossible_questions():
    with pytest.raises(SteerAnomalyError, match="got none; give at least one"):
        promised(0, None, 0.95)
    for target, confidence in ((0.0, 0.95), (1.5, 0.95), (0.05, 1.0), (float("nan"), 0.9)):
        with pytest.raises(SteerAnomalyError, match="between 0 % and 100 %"):
            promised(20, target, confidence)
    with pytest.raises(SteerAnomalyError, match="rank from 1 to the 20"):
        Promise(20, 21, 0.95)
    for kind, folds in (("perfect", None), ("cross-fitted", 1), ("cross-fitted", True)):
        with pytest.raises(SteerAnomalyError, match="calibrate again"):
            Scoring(kind, folds=folds)


def test_cross_fitting_is_an_estimate_and_says_so():
    one_out, five = (promised(20, None, 0.95, Scoring("cross-fitted", folds=k)) for k in (20, 5))
    assert not one_out.guaranteed
    assert one_out.proven_mean == pytest.approx(1 / 21)
    assert five.proven_mean == pytest.approx(4 / 24)
    assert promised(20, None, 0.95, Scoring("cross-fitted", folds=3)).proven_mean is None
    assert promised(20, None, 0.95).proven_mean is None
    words = five.sentence()
    assert "5 folds" in words
    assert "an estimate and no guarantee" in words
    assert "Proven is less: 16.7 % at most on average" in words


@pytest.mark.parametrize(("n", "folds", "rank"), [(6, 6, 1), (6, 6, 2), (6, 3, 1), (12, 4, 3)])
def test_what_is_proven_of_cross_fitting_holds_on_drawn_points(n, folds, rank):
    """Distances to the nearest reference: more references never raise them. Standard error of the mean is 0.5 %."""
    rng = np.random.default_rng(0)
    fold = np.arange(n) % folds
    alarms = []
    for _ in range(3000):
        points, new = rng.standard_normal((n, 2)), rng.standard_normal(2)
        apart = np.linalg.norm(points[:, None] - points, axis=2)
        apart[fold[:, None] == fold] = np.inf
        threshold = np.sort(apart.min(axis=1))[-rank]
        alarms.append(np.linalg.norm(points - new, axis=1).min() > threshold)
    promise = Promise(n, rank, 0.95, Scoring("cross-fitted", folds=folds))
    assert np.mean(alarms) <= promise.proven_mean + 0.01


def test_batches_have_their_own_words_and_other_batches_no_promise():
    same = promised(20, None, 0.95, Scoring("same batches", batch=21))
    assert not same.guaranteed
    assert (
        "batches of 21 pictures, so the statement holds only for pictures judged in batches"
        in same.sentence()
    )
    assert "an estimate and no guarantee" in same.sentence()
    other = promised(20, 0.5, 0.95, Scoring("other batches"), best_effort=True)
    assert (other.bound, other.expected, other.met) == (None, None, False)
    assert "No false-alarm rate is promised" in other.sentence()
    assert "%" not in promised(20, None, 0.95, Scoring("other batches")).sentence()
    with pytest.raises(TooFewParts, match="batches of the same kind"):
        promised(20, 0.5, 0.95, Scoring("other batches"))


@pytest.mark.parametrize(
    ("rate", "words"), [(0.0476, "4.8 %"), (0.05, "5 %"), (0.0025, "0.25 %"), (0.00997, "1 %"), (0, "0 %")]
)
def test_percent(rate, words):
    assert percent(rate) == words
