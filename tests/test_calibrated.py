"""`eval --calibrate`: what was promised, what came of it, and how few images may seem to break what holds."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_parts import plate, plates
from PIL import Image
from scipy.stats import betabinom, binom

from anomaly.cli import main
from anomaly.decision.calibration import measured
from anomaly.decision.promise import Promise
from anomaly.evaluation.calibrated import CalibratedFigures, Held


def figures(n, rank, alarms, good, **changes):
    fields = {
        "category": "plate", "seed": 0, "promise": Promise(n, rank, 0.95), "references": 8,
        "alarms": measured(alarms, good), "found": measured(3, 4), "seg_f1": 0.5, "left_out": (),
    }  # fmt: skip
    return CalibratedFigures(**fields | changes)


def test_few_images_exceed_a_bound_that_holds():
    one = figures(25, 1, 2, 14)  # 2 of 14 is more than the bound of 11.3 %
    assert not one.within and one.promise.bound == pytest.approx(1 - 0.05 ** (1 / 25))
    # By hand: no or one of 14 is above all 25 others, as the first of 39 in random order, or the first but one.
    none, only = 25 / 39, 14 / 39 * 25 / 38
    assert one.within_expected == pytest.approx(none + only)
    assert one.allowed == 2  # with two of them 95 % and more
    assert one.p_value == pytest.approx(1 - binom.cdf(1, 14, one.promise.bound))
    assert Held.of([one, figures(25, 1, 0, 14)]) == Held(2, 1, pytest.approx(2 * (none + only)), 2, 2)


def test_what_is_allowed_is_kept_as_often_as_said():
    random, promise = np.random.default_rng(0), Promise(29, 1, 0.95)
    alarms = [(random.random(50) > random.random(29).max()).sum() for _ in range(4000)]
    kept = np.mean(np.array(alarms) <= promise.most_alarms(50))
    assert kept + 0.01 >= 0.95 and kept == pytest.approx(
        promise.chance_of_at_most(promise.most_alarms(50), 50), abs=0.015
    )
    within = np.mean(np.array(alarms) <= promise.bound * 50)
    assert within == pytest.approx(figures(29, 1, 0, 50).within_expected, abs=0.015) and within < 0.93
    assert promise.chance_of_at_most(3, 50) == pytest.approx(betabinom(50, 1, 29).cdf(3))


def test_the_parts_of_a_figure_are_written():
    said = figures(29, 1, 1, 10).to_dict()
    assert json.loads(json.dumps(said)) == said
    assert (said["false_alarms"], said["good"], said["found"], said["defective"], said["parts"]) == (
        1,
        10,
        3,
        4,
        29,
    )


@pytest.mark.slow
def test_each_category_is_calibrated_and_judged(tmp_path):
    folder = tmp_path / "plate"
    plates(folder / "train" / "good", range(6), side=64)
    plates(folder / "test" / "good", range(20, 23), side=64)
    plates(folder / "test" / "dent", range(30, 32), defect=True, side=64)
    for seed in (30, 31):
        truth = np.abs(plate(seed, True, 64).astype(int) - plate(seed, False, 64)).sum(-1) > 100
        (folder / "ground_truth" / "dent").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(truth) * 255).save(folder / "ground_truth" / "dent" / f"{seed}_mask.png")
    arguments = [
        "eval",
        "folder",
        "--root",
        folder,
        "--calibrate",
        5,
        "--seeds",
        "0,1",
        "--out",
        tmp_path / "out",
    ]
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    assert "Of 2 calibrations" in done.output and "found | SegF1" in done.output
    written = json.loads((tmp_path / "out" / "calibrated.json").read_text())
    assert [one["seed"] for one in written["calibrations"]] == [0, 1]
    assert all(
        one["parts"] == 5 and one["good"] == 3 and one["defective"] == 2 for one in written["calibrations"]
    )
    assert written["calibrations"][0]["seg_f1"] is not None
    refused = CliRunner().invoke(main, [str(one) for one in [*arguments, "--shots", 2]])
    assert refused.exit_code == 2 and "beside --calibrate" in refused.output
