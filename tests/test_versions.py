"""Versions of a profile: nothing is lost, whoever changed it and whenever the process died."""

import pytest

from anomaly.decision import profile_file
from anomaly.decision.calibration import Calibration
from anomaly.decision.profile import Profile, Provenance
from anomaly.decision.promise import promised
from anomaly.errors import SteerAnomalyError
from anomaly.line.versions import Versions, is_name, versions_of


def profile(*scores):
    calibration = Calibration(tuple(map(float, scores)))
    hashes = tuple(f"{number:064x}" for number in range(len(scores)))
    return Profile(
        "plate", "nano", {"trunk": "0" * 64}, ("a {object}",), {"omega": 1.0}, "0" * 64, calibration,
        promised(calibration.n, None, 0.95), Provenance("2026-11-24T10:00:00+00:00", "1", (), hashes), (), None, {},
    )  # fmt: skip


@pytest.fixture
def versions(tmp_path):
    profile_file.save(profile(1, 2, 3), tmp_path / "plate.profile")
    return Versions(tmp_path / "plate.profile")


def threshold(versions):
    return profile_file.load(versions.path).threshold


def test_a_change_is_a_version_with_its_reason_and_going_back_is_one_too(versions):
    assert (versions.current().number, versions.current().reason) == (1, "as it was found")
    versions.add(profile(1, 2, 9), "part 7   was\ngood")
    assert threshold(versions) == 9 and versions.current().reason == "part 7 was good"
    made = versions.back(reason="it was not")
    assert (made.number, made.reason, threshold(versions)) == (3, "back to version 1: it was not", 3)
    assert versions.back(2).number == 4 and threshold(versions) == 9
    assert [one.number for one in versions.all()] == [1, 2, 3, 4] and versions.load(1).threshold == 3


def test_what_others_wrote_is_kept_before_it_is_changed(versions):
    versions.current()
    profile_file.save(profile(5, 6), versions.path)
    versions.add(profile(1, 2, 9), "feedback")
    assert [one.reason for one in versions.all()] == [
        "as it was found",
        "changed outside of the service",
        "feedback",
    ]
    assert versions.load(2).threshold == 6


def test_killed_between_keeping_and_judging_the_old_one_goes_on(versions, monkeypatch):
    versions.current()
    before = versions.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", stop_at(versions.path))
        with pytest.raises(KeyboardInterrupt):
            versions.add(profile(1, 2, 9), "feedback")
    assert versions.path.read_bytes() == before and versions.current().number == 1
    assert versions.add(profile(1, 2, 9), "feedback").number == 3 and versions.current().number == 3


def stop_at(path):
    from pathlib import Path

    replace_ = Path.replace

    def stopping(self, target):
        if target == path:
            raise KeyboardInterrupt
        return replace_(self, target)

    return stopping


def test_what_is_not_there_or_broken_is_said(versions, tmp_path):
    with pytest.raises(SteerAnomalyError, match="expected a version before"):
        versions.back()
    with pytest.raises(SteerAnomalyError, match=r"\(1 to 1\), got 7"):
        versions.back(7)
    with pytest.raises(SteerAnomalyError, match="there is none"):
        Versions(tmp_path / "none.profile").current()
    versions.path.write_bytes(b"PK")
    with pytest.raises(SteerAnomalyError):
        versions.current()
    assert versions.back().number == 2 and threshold(versions) == 3  # a broken file is no dead end
    (versions.folder / "0001.json").write_text("{}")
    with pytest.raises(SteerAnomalyError, match="move it away"):
        versions.all()


@pytest.mark.parametrize("name", ["a", "left flange", "M8-bolt_2.v1"])
def test_names(name, tmp_path):
    assert is_name(name) and versions_of(tmp_path, name).path.parent == tmp_path


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", "a/b", "a\\b", "-a", ".a", "a.", "a\n", "ä", "x" * 65, "a\x00"]
)
def test_what_is_no_name(name, tmp_path):
    with pytest.raises(SteerAnomalyError, match="expected a profile's name"):
        versions_of(tmp_path, name)
