"""`profile show|check|merge|extend` as a user meets them, on drawn parts."""

from dataclasses import replace

import pytest
from click.testing import CliRunner
from drawn_parts import plates

from anomaly.cli import main
from anomaly.commands import exit_codes
from anomaly.decision import profile_file

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    plates(folder / "good", range(8))
    done = run(
        "calibrate", "--object", "plate", "--quiet", "--references", 3, "--out", folder / "p", folder / "good"
    )
    assert done.exit_code == 0, done.output
    return folder / "p"


def test_show_says_all_and_check_that_it_fits(made):
    shown = run("profile", "show", made)
    assert shown.exit_code == 0 and "Profile of: plate" in shown.output and "held out" in shown.output
    checked = run("profile", "check", made)
    assert checked.exit_code == 0 and "are those of its calibration" in checked.output


def test_check_refuses_another_model(made, tmp_path):
    profile = profile_file.load(made)
    profile_file.save(replace(profile, hashes=dict(profile.hashes) | {"trunk": "1" * 64}), tmp_path / "q")
    done = run("profile", "check", tmp_path / "q")
    assert done.exit_code == exit_codes.USAGE and "another trunk" in done.output


def test_extended_and_merged_promise_more(made, tmp_path):
    plates(tmp_path / "more", range(50, 55))
    done = run("profile", "extend", made, tmp_path / "more", "--quiet", "--out", tmp_path / "longer")
    assert done.exit_code == 0, done.output
    assert profile_file.load(tmp_path / "longer").calibration.n == 10
    plates(tmp_path / "others", range(60, 64))
    run("profile", "extend", made, tmp_path / "others", "--quiet", "--out", tmp_path / "other")
    done = run("profile", "merge", tmp_path / "longer", tmp_path / "other", "--out", tmp_path / "both")
    assert done.exit_code == 0, done.output
    both = profile_file.load(tmp_path / "both")
    assert both.calibration.n == 14 and both.promise.bound < profile_file.load(made).promise.bound
    again = run("profile", "merge", tmp_path / "longer", tmp_path / "other", "--out", tmp_path / "both")
    assert again.exit_code == exit_codes.USAGE and "--overwrite" in again.output


def test_where_every_part_is_used_for_both_none_can_be_added(tmp_path):
    plates(tmp_path / "good", range(4))
    run("calibrate", "--object", "plate", "--quiet", "--out", tmp_path / "p", tmp_path / "good")
    done = run("profile", "extend", tmp_path / "p", tmp_path / "good", "--quiet", "--out", tmp_path / "q")
    assert done.exit_code == exit_codes.USAGE and "calibrate once on all" in done.output


def test_a_reference_cannot_calibrate(made, tmp_path):
    done = run("profile", "extend", made, made.parent / "good", "--quiet", "--out", tmp_path / "q")
    assert done.exit_code == exit_codes.USAGE and "no references" in done.output


def test_what_is_no_profile(tmp_path):
    (tmp_path / "x").write_text("{}")
    for command in (["show"], ["check"]):
        assert run("profile", *command, tmp_path / "x").exit_code == exit_codes.USAGE
