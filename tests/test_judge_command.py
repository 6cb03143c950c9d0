"""`judge`: a finished run judged again is the run that would have been made so, file by file; and bad input."""

import csv
import json
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_parts import plates

from anomaly.cli import main
from anomaly.commands import exit_codes
from anomaly.decision import profile_file
from anomaly.decision.calibration import Calibration
from anomaly.decision.gate import learn, look
from anomaly.decision.profile import Profile, Provenance
from anomaly.decision.promise import promised
from anomaly.inspection import Inspection
from anomaly.pictures.images import read_image
from anomaly.regions import find_regions
from anomaly.runs.folder import ResultFolder
from anomaly.settings import InspectionSettings

SETTINGS = InspectionSettings(
    model="fake", hashes=(("checkpoint", "a" * 64),), image_size=(96, 96), prompts=("a {object}",), contrast=(),
    omega=1.0, activation="logit", smooth=0.0, scales="1", self_similarity=0.0, dark_lines=0.0, precision="fp32",
)  # fmt: skip


def inspected(path, threshold, mask_threshold):
    """As redness, which only a dent has."""
    image = read_image(path)
    heatmap = image[..., 0].astype(np.float32) - image[..., 2]
    score = float(np.sort(heatmap.ravel())[-9:].mean())
    mask = heatmap >= mask_threshold if score >= threshold else np.zeros(heatmap.shape, bool)
    return image, Inspection(
        score, score >= threshold, heatmap, mask, find_regions(mask, heatmap), threshold, "plate", "fake",
        look=look(image),
    )  # fmt: skip


def finished(out, paths, threshold, mask_threshold):
    settings = SETTINGS.to_dict() | {
        "settings_hash": SETTINGS.hash, "threshold": threshold, "mask_threshold": mask_threshold,
        "threshold_source": "set by the user",
    }  # fmt: skip
    info = {"object": "plate", "settings": settings, "model": {"name": "fake", "about": "redness"}}
    with ResultFolder(out, info) as folder:
        for path in paths:
            folder.write(path.stem, path, *inspected(path, threshold, mask_threshold))
    return out


def run(*arguments):
    return CliRunner().invoke(main, ["judge", *map(str, arguments), "--quiet"])


def rows(out):
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "milliseconds"} for row in csv.DictReader(file)]


@pytest.fixture
def paths(tmp_path):
    return plates(tmp_path / "img", range(5)) + plates(tmp_path / "img", range(10, 14), defect=True)


def profile(paths, rate=None, **changes):
    scores = [inspected(path, 0, 0)[1] for path in paths]
    calibration = Calibration(
        tuple(one.score for one in scores), tuple(float(one.heatmap.max()) for one in scores)
    )
    looks = tuple(one.look for one in scores)
    fields = {
        "object": "plate", "model": "fake", "hashes": dict(SETTINGS.hashes), "prompts": SETTINGS.prompts,
        "settings": SETTINGS.to_dict(), "settings_hash": SETTINGS.hash, "calibration": calibration,
        "promise": promised(len(paths), rate, 0.95), "looks": looks, "gate": learn(looks),
        "provenance": Provenance.now("0", (), [f"{place:064x}" for place in range(len(paths))]),
    }  # fmt: skip
    return Profile(**fields | changes)


@pytest.mark.parametrize(("threshold", "mask"), [(70, 50), (20, 15), (500, 500), (-50, 10), (40, 60)])
def test_judged_again_is_as_if_it_had_been_judged_so(paths, tmp_path, threshold, mask):
    out = finished(tmp_path / "again", paths, 40, 30)
    done = run(out, "--threshold", threshold, "--mask-threshold", mask)
    assert done.exit_code == 0, done.output
    fresh = finished(tmp_path / "fresh", paths, threshold, mask)
    assert rows(out) == rows(fresh)
    for path in paths:
        name = f"masks/{path.stem}.png"
        assert (out / name).read_bytes() == (fresh / name).read_bytes()
    assert json.loads((out / "run.json").read_text())["settings"]["threshold"] == threshold
    assert "judged_again" in (out / "run.json").read_text()


def test_what_stays_is_not_written_again(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 40, 30)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.parent.name != "out"}
    time.sleep(0.01)
    done = run(out, "--threshold", 41, "--mask-threshold", 30)
    assert "0 otherwise than before" in done.output
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_photographs_may_be_gone(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 500, 500)
    for path in paths:
        path.unlink()
    done = run(out, "--threshold", 40, "--mask-threshold", 30)
    assert done.exit_code == 0, done.output
    assert sum(row["verdict"] == "defect" for row in rows(out)) == 4


def test_small_regions_are_no_defects(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 40, 30)
    assert run(out, "--threshold", 40, "--mask-threshold", 30, "--min-area", 5000).exit_code == 0
    assert {row["verdict"] for row in rows(out)} == {"ok"}


def test_a_rate_needs_a_profile_and_is_kept_with_it(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 500, 500)
    assert "made without one" in run(out, "--false-alarms", "5%").output
    good = plates(tmp_path / "good", range(100, 160))
    profile_file.save(profile(good), tmp_path / "p")
    done = run(out, "--profile", tmp_path / "p", "--false-alarms", "5%", "--fail-on-defect")
    assert done.exit_code == exit_codes.DEFECT, done.output
    assert "at most 4.9 %" in done.output  # n = 60, r = 1: 1 - 0.05 ** (1/60)
    assert sum(row["verdict"] == "defect" for row in rows(out)) == 4
    assert "needs 299 good parts" in run(out, "--false-alarms", "1%").output  # by the run's own profile now
    report = (out / "report.html").read_text()
    assert "false-alarm rate is expected to be 1.6 %" in report
    done = run(out, "--threshold", 1e6)
    assert "at most 4.9 % with 95 % confidence, had it been chosen beforehand" in done.output


def test_unfit_photographs_stay_unfit_unless_the_gate_is_off(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 500, 500)
    good = plates(tmp_path / "good", range(100, 110), side=48)  # of another size
    profile_file.save(profile(good), tmp_path / "p")
    done = run(out, "--profile", tmp_path / "p")
    assert done.exit_code == exit_codes.UNFIT, done.output
    assert {row["verdict"] for row in rows(out)} == {"unfit"} and "too large" in rows(out)[0]["error"]
    run(out, "--profile", tmp_path / "p", "--no-gate")
    assert {row["verdict"] for row in rows(out)} == {"ok", "defect"}


def test_a_profile_of_other_settings_is_refused(paths, tmp_path):
    out = finished(tmp_path / "out", paths, 500, 500)
    other = replace(SETTINGS, omega=2.0)
    profile_file.save(profile(paths, settings=other.to_dict(), settings_hash=other.hash), tmp_path / "p")
    done = run(out, "--profile", tmp_path / "p")
    assert done.exit_code == exit_codes.USAGE and "scored as the profile was calibrated" in done.output


def test_bad_input(paths, tmp_path):
    assert "is none" in run(tmp_path / "nowhere", "--threshold", 1).output
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--threshold", 1).exit_code == exit_codes.USAGE
    out = finished(tmp_path / "out", paths, 500, 500)
    assert "got both" in run(out, "--threshold", 1, "--false-alarms", "1%").output
    assert run(out, "--threshold", "nan").exit_code == exit_codes.USAGE
    assert run(out, "--profile", out / "run.json").exit_code == exit_codes.USAGE
