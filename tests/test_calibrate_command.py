"""`calibrate` and `inspect --profile` as a user meets them: promises, scores to the bit, every kind of bad input."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from drawn_parts import plate, plates
from PIL import Image

from anomaly import Inspector
from anomaly.cli import main
from anomaly.commands import exit_codes
from anomaly.decision import profile_file
from anomaly.evidence.descriptions import content_hash
from anomaly.pictures.images import read_image
from anomaly.pictures.maps import read_map

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def calibrate(out, good, *more):
    return run("calibrate", "--object", "plate", "--quiet", "--out", out, *more, good)


def rows(out):
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    plates(folder, range(12))
    return folder


@pytest.fixture(scope="module")
def held_out(good, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "held.profile"
    done = calibrate(path, good, "--references", 4)
    assert done.exit_code == 0, done.output
    return path, done.output


@pytest.fixture(scope="module")
def crossed(good, tmp_path_factory):
    path = tmp_path_factory.mktemp("profiles") / "crossed.profile"
    done = calibrate(path, good)
    assert done.exit_code == 0, done.output
    return path, done.output


# What is promised ---------------------------------------------------------------------------------------


def test_what_is_printed_can_be_signed(held_out, crossed):
    assert "expected to be 11.1 % and is at most 31.2 % with 95 % confidence" in held_out[1]  # n = 8, r = 1
    assert "12 folds" in crossed[1] and "no guarantee" in crossed[1]
    assert "inspect --profile" in crossed[1]


def test_held_out_scores_are_those_of_inspect_to_the_bit(held_out, good):
    profile = profile_file.load(held_out[0])
    inspector = Inspector.from_profile(profile)
    scores = dict(zip(profile.provenance.calibration, profile.calibration.scores, strict=True))
    assert len(scores) == 8 and len(profile.provenance.references) == 4
    for path in good.iterdir():
        image = read_image(path)
        if (known := scores.get(content_hash(image))) is not None:
            assert inspector.inspect(image, "plate").score == known


def test_the_order_and_names_of_files_do_not_matter(held_out, good, tmp_path):
    for place, path in enumerate(sorted(good.iterdir(), reverse=True)):
        (tmp_path / "other" / f"{place}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "other" / f"{place}.png").write_bytes(path.read_bytes())
    done = calibrate(tmp_path / "again.profile", tmp_path / "other", "--references", 4)
    assert done.exit_code == 0, done.output
    first, again = profile_file.load(held_out[0]), profile_file.load(tmp_path / "again.profile")
    assert first.digest == again.digest
    assert first.calibration == again.calibration


def test_left_out_scores_are_those_against_the_other_pictures(crossed, good):
    profile = profile_file.load(crossed[0])
    images = {content_hash(image): image for image in map(read_image, good.iterdir())}
    some = profile.provenance.calibration[0]
    alone = Inspector(references=[image for content, image in images.items() if content != some])
    found = alone.inspect(images[some], "plate").score
    assert found == pytest.approx(profile.calibration.scores[0], rel=1e-4)


def test_zero_shot_scores_are_those_of_inspect(good, tmp_path):
    done = calibrate(tmp_path / "zero.profile", good, "--references", "none")
    assert done.exit_code == 0, done.output
    profile = profile_file.load(tmp_path / "zero.profile")
    images = {content_hash(image): image for image in map(read_image, good.iterdir())}
    alone = Inspector()
    for content, score in zip(profile.provenance.calibration, profile.calibration.scores, strict=True):
        assert alone.inspect(images[content], "plate").score == score


def test_compared_with_their_batch_the_promise_is_worded_so(good, tmp_path):
    done = calibrate(tmp_path / "batch.profile", good, "--references", "none", "--mutual")
    assert done.exit_code == 0, done.output
    assert "batches of the same size" in done.output
    wrong = calibrate(tmp_path / "wrong.profile", good, "--mutual")
    assert wrong.exit_code == exit_codes.USAGE and "--references none" in wrong.output


def test_a_rate_that_cannot_be_promised_is_an_error_unless_best_effort(good, tmp_path):
    done = calibrate(tmp_path / "p.profile", good, "--false-alarms", "1%")
    assert done.exit_code == exit_codes.USAGE
    assert "needs 299 good parts, got 12" in done.output and "Photograph 287 more" in done.output
    assert not (tmp_path / "p.profile").exists()
    done = calibrate(tmp_path / "p.profile", good, "--false-alarms", "1%", "--best-effort")
    assert done.exit_code == 0 and "is not kept" in done.output


def test_defects_tell_how_many_would_be_missed(good, tmp_path):
    plates(tmp_path / "bad", range(100, 104), defect=True)
    done = calibrate(tmp_path / "p.profile", good, "--references", 4, "--defects", tmp_path / "bad")
    assert done.exit_code == 0, done.output
    assert "of 4 defective pictures missed" in done.output and "<- this profile" in done.output
    with Image.open(tmp_path / "p-tradeoff.png") as plot:  # the trade-off, beside the profile
        assert plot.width > 600


# Judging by it ------------------------------------------------------------------------------------------


def test_inspect_needs_the_profile_only(crossed, good, tmp_path):
    bad = plates(tmp_path / "bad", [200], defect=True)
    out = tmp_path / "out"
    done = run("inspect", "--quiet", "--profile", crossed[0], good, *bad, "--out", out)
    assert done.exit_code == 0, done.output
    verdicts = {row["file"]: row for row in rows(out)}
    # Those it was calibrated on are compared with one fewer than the scale is of, which is a little stricter.
    assert sum(row["verdict"] == "ok" for row in verdicts.values()) >= 10
    odd = verdicts[str(bad[0])]
    assert odd["verdict"] == "defect" and float(odd["p_value"]) == pytest.approx(1 / 13)
    assert float(odd["spreads"]) > 3
    kept = json.loads((out / "run.json").read_text())
    assert kept["object"] == "plate" and "12 folds" in kept["note"] and kept["promises"][0][1] < 0.3
    assert json.loads((out / "drift.json").read_text())["followed"] + 2 >= 12
    assert "folds" in (out / "report.html").read_text()


def test_an_ok_part_has_an_empty_mask(crossed, good, tmp_path):
    out = tmp_path / "out"
    run("inspect", "--quiet", "--profile", crossed[0], good, "--out", out)
    fine = [Path(row["file"]).stem for row in rows(out) if row["verdict"] == "ok"]
    assert len(fine) >= 10
    for name in fine:
        assert not cv2.imread(str(out / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE).any()


def test_a_photograph_that_is_unfit_has_an_exit_code_and_a_reason(crossed, tmp_path):
    dark, out = tmp_path / "dark.png", tmp_path / "out"
    Image.fromarray(plate(5) // 12).save(dark)
    done = run("inspect", "--quiet", "--profile", crossed[0], dark, "--out", out)
    assert done.exit_code == exit_codes.UNFIT, done.output
    (row,) = rows(out)
    assert row["verdict"] == "unfit" and "too dark" in row["error"]
    done = run("inspect", "--quiet", "--profile", crossed[0], dark, "--out", tmp_path / "free", "--no-gate")
    assert done.exit_code in (0, exit_codes.DRIFT) and rows(tmp_path / "free")[0]["verdict"] in (
        "ok",
        "defect",
    )


# Bad input ----------------------------------------------------------------------------------------------


def test_no_picture_one_and_two(tmp_path):
    (tmp_path / "none").mkdir()
    assert calibrate(tmp_path / "p", tmp_path / "none").exit_code == exit_codes.USAGE
    plates(tmp_path / "one", [1])
    done = calibrate(tmp_path / "p", tmp_path / "one")
    assert done.exit_code == exit_codes.USAGE and "two good parts at least" in done.output
    done = calibrate(tmp_path / "p", tmp_path / "one", "--references", 1)
    assert done.exit_code == exit_codes.USAGE and "left for calibration" in done.output
    done = calibrate(tmp_path / "p", tmp_path / "one", "--references", "none")
    assert done.exit_code == 0 and "Only 1 good part" in done.output
    plates(tmp_path / "two", [1, 2])
    done = calibrate(tmp_path / "q", tmp_path / "two")
    assert done.exit_code == 0 and "Only 2 good parts" in done.output
    assert profile_file.load(tmp_path / "q").promise.bound == pytest.approx(
        0.7764, abs=1e-3
    )  # 1 - 0.05 ** (1/2)


def test_all_identical(tmp_path):
    (tmp_path / "same").mkdir()
    for name in "abc":
        Image.fromarray(plate(3)).save(tmp_path / "same" / f"{name}.png")
    done = calibrate(tmp_path / "p", tmp_path / "same")
    assert done.exit_code == exit_codes.USAGE and "two good parts at least" in done.output


def test_good_pictures_of_two_parts(good, tmp_path):
    for place in range(8):
        grain = np.random.default_rng(place).integers(0, 255, (96, 96, 3), dtype=np.uint8)
        (tmp_path / "other").mkdir(exist_ok=True)
        Image.fromarray(grain).save(tmp_path / "other" / f"{place}.png")
    done = run("calibrate", "--object", "plate", "--quiet", "--out", tmp_path / "p", good, tmp_path / "other")
    assert done.exit_code == exit_codes.USAGE and "two groups" in done.output
    more = ["--best-effort", good, tmp_path / "other"]
    assert run("calibrate", "--object", "plate", "--quiet", "--out", tmp_path / "p", *more).exit_code == 0


def test_an_outlier_is_shown_and_dropped_when_asked(good, tmp_path):
    odd = tmp_path / "odd.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(odd)
    done = run("calibrate", "--object", "plate", "--quiet", "--out", tmp_path / "p", good, odd)
    assert done.exit_code == 0 and "Look at this one" in done.output and "odd.png" in done.output
    arguments = ["--quiet", "--drop-outliers", "--out", tmp_path / "q", good, odd]
    assert run("calibrate", "--object", "plate", *arguments).exit_code == 0
    assert profile_file.load(tmp_path / "q").calibration.n == 12


def test_a_profile_is_not_written_over(held_out, good):
    done = calibrate(held_out[0], good)
    assert done.exit_code == exit_codes.USAGE and "--overwrite" in done.output


@pytest.mark.parametrize("rate", ["0", "100%", "5", "-1%", "some", "nan"])
def test_rates_that_are_none(rate, tmp_path):
    done = calibrate(tmp_path / "p", tmp_path, "--false-alarms", rate)
    assert done.exit_code == exit_codes.USAGE and "such as 1%" in done.output


def test_options_that_the_profile_fixes_are_named(crossed, good, tmp_path):
    more = ["--threshold", "3", "--object", "plate", "--omega", "1", "--out", tmp_path / "o"]
    done = run("inspect", "--profile", crossed[0], good, *more)
    assert done.exit_code == exit_codes.USAGE
    assert "--object, --omega, --threshold" in done.output
    assert not (tmp_path / "o").exists()


def changed(path, to, **fields):
    profile_file.save(replace(profile_file.load(path), **fields), to)
    return to


def test_another_model_and_other_settings(crossed, good, tmp_path):
    profile = profile_file.load(crossed[0])
    hashes = dict(profile.hashes) | {"checkpoint": "0" * 64}
    other = changed(crossed[0], tmp_path / "a", hashes=hashes)
    done = run("inspect", "--profile", other, good, "--out", tmp_path / "o")
    assert done.exit_code == exit_codes.USAGE and "another checkpoint" in done.output
    other = changed(crossed[0], tmp_path / "b", settings=dict(profile.settings) | {"omega": 0.5})
    done = run("inspect", "--profile", other, good, "--out", tmp_path / "o")
    assert done.exit_code == exit_codes.USAGE and "calibrate again" in done.output
    other = changed(crossed[0], tmp_path / "c", settings={"omega": 1})
    assert run("inspect", "--profile", other, good, "--out", tmp_path / "o").exit_code == exit_codes.USAGE
    other = changed(crossed[0], tmp_path / "d", references={})
    assert run("inspect", "--profile", other, good, "--out", tmp_path / "o").exit_code == exit_codes.USAGE
    other = changed(crossed[0], tmp_path / "e", model="mine")
    done = run("inspect", "--profile", other, good, "--out", tmp_path / "o")
    assert done.exit_code == exit_codes.USAGE and "one of your own" in done.output


def test_a_profile_that_is_none(good, tmp_path):
    (tmp_path / "torn").write_bytes(b"\x00" * 30)
    for path in (tmp_path / "torn", tmp_path / "missing", tmp_path):
        done = run("inspect", "--profile", path, good, "--out", tmp_path / "o")
        assert done.exit_code == exit_codes.USAGE, done.output
    assert run("inspect", good).exit_code == exit_codes.USAGE


def test_a_region_of_interest_and_the_smallest_defect_are_kept_in_the_profile(good, tmp_path):
    sized = ("--roi", "auto", "--min-area", "2mm2", "--mm-per-pixel", 0.5)
    done = calibrate(tmp_path / "p.profile", good, "--references", 4, *sized)
    assert done.exit_code == 0, done.output
    known = profile_file.load(tmp_path / "p.profile")
    assert known.settings["roi"].startswith("auto, learned: mask") and known.least.area == pytest.approx(8)
    image = plate(200, defect=True)
    image[2:9, 2:9] = 255  # on the bench, not on the plate
    Image.fromarray(image).save(tmp_path / "odd.png")
    inspected = ("inspect", "--quiet", "--profile", tmp_path / "p.profile", tmp_path / "odd.png", "--out")
    done = run(*inspected, tmp_path / "out", "--no-gate")
    assert done.exit_code in (0, exit_codes.DRIFT), done.output
    (row,) = rows(tmp_path / "out")
    assert row["verdict"] == "defect" and float(row["largest_area_mm2"]) == float(row["largest_area_px"]) / 4
    heatmap = read_map(tmp_path / "out" / "heatmaps" / "odd.tiff")
    assert (heatmap[:12, :12] == heatmap.min()).all()
    clash = run(*inspected, tmp_path / "o", "--roi", "auto", "--min-area", "3")
    assert clash.exit_code == exit_codes.USAGE and "--roi, --min-area" in clash.output


def test_a_mask_of_another_shape_fails_the_picture_and_never_passes_it(good, tmp_path):
    Image.fromarray(np.full((96, 48), 255, np.uint8)).save(tmp_path / "mask.png")
    arguments = ("--roi", tmp_path / "mask.png", "--mutual", "off", "--out", tmp_path / "out")
    done = run("inspect", "--quiet", "--object", "plate", good / "0.png", *arguments)
    assert done.exit_code == exit_codes.FAILED_IMAGES, done.output
    (row,) = rows(tmp_path / "out")
    assert row["verdict"] == "failed" and "aspect, 48 x 96, got 96 x 96" in row["error"]
