"""What is deleted to make room, and what never is."""

import os
import time
from pathlib import Path

from anomaly.line.retention import Forgetting, Limits, forget


def fill(out, ages, size=100):
    """Maps as many days old as `ages` say, and a journal."""
    (out / "heatmaps").mkdir(parents=True)
    for number, age in enumerate(ages):
        file = out / "heatmaps" / f"{number}.tiff"
        file.write_bytes(bytes(size))
        then = time.time() - age * 86_400
        os.utime(file, (then, then))
    (out / "results.jsonl").write_bytes(bytes(10_000))
    os.utime(out / "results.jsonl", (0, 0))


def left(out):
    return sorted(int(file.stem) for file in (out / "heatmaps").iterdir())


def test_old_files_go_and_the_journal_stays(tmp_path):
    fill(tmp_path, [10, 5, 1])
    assert forget([tmp_path / "heatmaps"], Limits(days=4)) == (2, 200)
    assert left(tmp_path) == [2] and (tmp_path / "results.jsonl").exists()


def test_the_oldest_go_until_the_rest_fits(tmp_path):
    fill(tmp_path, [1, 3, 2])
    assert forget([tmp_path / "heatmaps", tmp_path / "nothing"], Limits(size=250)) == (1, 100)
    assert left(tmp_path) == [0, 2]
    assert forget([tmp_path / "heatmaps"], Limits(size=250)) == (0, 0)


def test_a_file_that_is_being_written_is_left_alone(tmp_path):
    fill(tmp_path, [9])
    (tmp_path / "heatmaps" / ".0.part").write_bytes(b"x")
    os.utime(tmp_path / "heatmaps" / ".0.part", (0, 0))
    forget([tmp_path / "heatmaps"], Limits(days=1))
    assert [file.name for file in (tmp_path / "heatmaps").iterdir()] == [".0.part"]


def test_a_file_that_cannot_be_deleted_keeps_no_other(tmp_path, monkeypatch):
    fill(tmp_path, [9, 5, 0])
    unlink = Path.unlink

    def refused(path, missing_ok=False):
        if path.stem == "0":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    assert forget([tmp_path / "heatmaps"], Limits(days=1)) == (1, 100)
    assert left(tmp_path) == [0, 2]


def test_forgetting_goes_on_beside_the_work(tmp_path):
    fill(tmp_path, [9, 0])
    forgetting = Forgetting([tmp_path / "heatmaps"], Limits(days=1), every=0.05)
    until = time.monotonic() + 5
    while left(tmp_path) != [1] and time.monotonic() < until:
        time.sleep(0.02)
    forgetting.close()
    assert left(tmp_path) == [1]
