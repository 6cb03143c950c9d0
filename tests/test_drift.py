"""The drift alarm: against crepes' simple jumper and p-values, its promise by simulation, and its saved state."""

import json

import numpy as np
import pytest
from crepes.base import p_values_online_regression
from crepes.martingales import EpsilonBettingFunction, SimpleJumper

from anomaly.decision.drift import BETS, JUMP, Drift, Level
from anomaly.errors import SteerAnomalyError


def scores(n, seed=0, shift=0.0):
    return (np.random.default_rng(seed).standard_normal(n) + shift).tolist()


def test_the_capital_is_that_of_crepes():
    drift = Drift(scores(50))
    steps = [drift.update(score) for score in scores(80, 1, 1.0)]
    jumper = SimpleJumper(J=JUMP, bf=EpsilonBettingFunction(E=list(BETS)))
    theirs = jumper.apply(np.array([step.p_value for step in steps]))
    assert np.allclose([step.capital for step in steps], theirs, rtol=1e-9)
    assert theirs.max() > 100
    assert drift.alarmed_at == int(np.argmax(theirs >= 100)) + 1


def test_the_first_bet_by_hand():
    drift = Drift([0.0] * 9, seed=3)
    step = drift.update(1.0)  # above all: p is u / 10
    assert step.p_value <= 0.1
    assert step.capital == pytest.approx(1.0)  # bets to both sides are worth the same at first
    assert drift.update(1.5).capital > 1


def test_ranks_are_those_of_crepes_but_for_ties_drawn_at_random():
    known, new = np.round(scores(30), 1), np.round(scores(60, 1), 1)
    drift = Drift(known.tolist())
    mine = np.array([drift.update(score).p_value for score in new.tolist()])
    highest = p_values_online_regression(new, alphas_cal=known, smoothing=False)
    seen = [np.concatenate([known, new[:i]]) for i in range(60)]
    ties = np.array([(before == score).sum() for before, score in zip(seen, new, strict=True)])
    assert (mine <= highest).all()
    assert (mine >= highest - (ties + 1) / (30 + np.arange(60) + 1)).all()


def test_p_values_are_uniform_while_nothing_changes_even_cut_at_the_threshold():
    known = scores(40)
    drift = Drift(known, threshold=sorted(known)[-3])
    found = [drift.update(score).p_value for score in scores(2000, 1)]
    kept = [p for p in found if p is not None]
    assert drift.aside == len(found) - len(kept) > 0
    assert np.abs(np.quantile(kept, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.03


def test_false_alarms_are_as_rare_as_promised():
    """At alpha 10 %, 200 runs: three standard errors above it are 16 %; the whole figure is a benchmark's."""
    alarms = 0
    for run in range(200):
        drift = Drift(scores(30, 2 * run), alpha=0.1, seed=run)
        alarms += any(drift.update(score).alarm for score in scores(200, 2 * run + 1))
    assert alarms / 200 <= 0.16


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_shift_is_found_soon_up_and_down(shift):
    delays = []
    for run in range(15):
        drift = Drift(scores(100, 2 * run), seed=run)
        after = [drift.update(score).alarm for score in scores(200, 2 * run + 1, shift)]
        delays.append(after.index(True) if True in after else 999)
    assert np.median(delays) < 100


def test_the_alarm_stays_and_a_long_drift_does_not_overflow():
    drift = Drift(scores(100))
    for score in np.linspace(4, 400, 3000):
        drift.update(float(score))
    assert drift.alarm
    assert drift.capital == pytest.approx(1e300)
    json.dumps(drift.to_dict(), allow_nan=False)


def test_it_goes_on_from_a_saved_state_as_if_never_stopped():
    whole, first = Drift(scores(30), 1.5, seed=4), Drift(scores(30), 1.5, seed=4)
    stream = scores(100, 1, 0.4)
    steps = [whole.update(score) for score in stream]
    for score in stream[:37]:
        first.update(score)
    second = Drift.from_dict(json.loads(json.dumps(first.to_dict())))
    assert [second.update(score) for score in stream[37:]] == steps[37:]
    assert second.to_dict() == whole.to_dict()
    assert Drift(scores(30), 1.5, seed=5).update(0.0) != Drift(scores(30), 1.5, seed=4).update(0.0)


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"shares": [1.0]}, {"scores": ["a"]}, {"log_capital": float("nan")}, {"alpha": None}],
)
def test_a_state_of_something_else_is_refused(change):
    with pytest.raises(SteerAnomalyError, match="start anew from the profile"):
        Drift.from_dict(Drift(scores(3)).to_dict() | change)
    with pytest.raises(SteerAnomalyError, match="start anew from the profile"):
        Drift.from_dict({})


def test_parts_at_the_threshold_are_set_aside_on_both_sides():
    drift = Drift([1.0, 2.0, 3.0, 4.0], threshold=3.0)
    assert drift.to_dict()["scores"] == [1, 2]
    assert drift.update(3.0).p_value is None
    assert drift.update(9.0).capital == 1
    assert (drift.fed, drift.aside) == (0, 2)


def test_numbers_that_are_none_change_nothing():
    drift = Drift([])
    before = drift.to_dict()
    with pytest.raises(SteerAnomalyError, match="could not be scored is not fed"):
        drift.update(float("nan"))
    assert drift.to_dict() == before
    assert 0 <= drift.update(1.0).p_value <= 1
    with pytest.raises(SteerAnomalyError, match="expected an alpha between 0 and 1"):
        Drift([1.0], alpha=0)


def test_the_promise_is_said_with_what_it_is_not():
    words = Drift([1.0]).sentence()
    assert "however many parts come, is at most 1 %" in words
    assert "does not see parts above the threshold" in words
    assert "without a promise" in Drift([1.0], exact=False).sentence()


def test_levels_by_hand():
    level = Level.learn([1.0, 2.0, 3.0] * 4)
    assert (level.centre, level.n) == (2, 12)
    assert level.spread == pytest.approx((8 / 11) ** 0.5)
    assert not level.update(3.0)
    assert level.mean == pytest.approx(2.1)
    assert Level(**json.loads(json.dumps(level.to_dict()))) == level


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_levels_leave_their_limits_on_both_sides(shift):
    level = Level.learn(scores(60))
    assert not any(level.update(value) for value in scores(500, 1))
    assert any(level.update(value) for value in scores(60, 2, shift))


def test_levels_of_few_or_equal_values():
    alone = Level.learn([5.0])
    assert not alone.update(1e9)
    same = Level.learn([5.0] * 8)
    assert not same.update(5.0)
    assert same.update(5.1)
    wide = Level.learn([1.0, 2.0])
    assert not any(wide.update(50.0) for _ in range(50))
    for wrong in ([], [float("nan")]):
        with pytest.raises(SteerAnomalyError):
            Level.learn(wrong)
