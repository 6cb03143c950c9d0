"""`steer-anomaly watch` as a user meets it: once, as a process that is stopped, and killed again and again."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomaly.cli import main

ROOT = Path(__file__).parent.parent
FLANGES = ROOT / "docs" / "samples" / "flanges"


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A profile of four good flanges: quick to make, and nothing is promised."""
    path = tmp_path_factory.mktemp("profile") / "flange.profile"
    good = [str(FLANGES / "good" / f"{number:02}.jpg") for number in range(1, 5)]
    options = ["--object", "flange", "--references", "none", "--best-effort", "--out", str(path), "--quiet"]
    done = CliRunner().invoke(main, ["calibrate", *options, *good])
    assert done.exit_code == 0, done.output
    return path


def watch(*words):
    return CliRunner().invoke(main, ["watch", *map(str, words)])


def test_refusals_are_one_sentence(tmp_path, monkeypatch):
    assert "Missing option '--profile'" in watch(tmp_path, "--once").output
    refused = watch(tmp_path, "--once", "--object", "a", "--forget-sorted")
    assert refused.exit_code == 2 and "--sort and --keep-days" in refused.output
    refused = watch(tmp_path, "--once", "--object", "a", "--keep-bytes", "many")
    assert refused.exit_code == 2 and "500MB" in refused.output
    refused = watch(tmp_path, "--once", "--object", "a", "--sink", "ftp://x", "--out", tmp_path / "out")
    assert refused.exit_code == 2 and "expected a sink" in refused.output
    monkeypatch.setattr("anomaly.commands.watch.find_spec", lambda name: None)
    refused = watch(tmp_path, "--object", "a")
    assert refused.exit_code == 2 and "steer-anomaly[line]" in refused.output and "--poll" in refused.output


@pytest.mark.slow
def test_once_judges_sorts_tells_the_sink_and_goes_on(tmp_path, profile):
    inbox, out, table = tmp_path / "in", tmp_path / "out", tmp_path / "v.csv"
    inbox.mkdir()
    words = [inbox, "--profile", profile, "--once", "--sort", "--out", out, "--sink", f"csv:{table}"]
    shutil.copy(FLANGES / "test" / "good-01.jpg", inbox)
    latin = (
        os.fsdecode(b"dent-1-\xe9.jpg") if sys.platform == "linux" else "dent-1.jpg"
    )  # a name that is no UTF-8
    shutil.copy(FLANGES / "test" / "dent-1.jpg", inbox / latin)
    done = watch(*words)
    assert done.exit_code in (0, 5), done.output
    shutil.copy(FLANGES / "test" / "good-02.jpg", inbox / "good-01.jpg")  # the name comes again
    again = watch(*words)
    assert (
        "3 images judged" in again.output and "good-01.jpg" in again.output and "dent-1" not in again.output
    )
    lines = (out / "results.jsonl").read_text("utf-8", "surrogateescape").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["path"] for row in rows}) == 3
    for row in rows:
        assert Path(row["path"]).is_file() and (out / row["heatmap"]).is_file()
        assert Path(row["path"]).parent.name == (row["verdict"] if row["verdict"] != "unjudged" else "unfit")
    with table.open(newline="") as file:
        sent = list(csv.DictReader(file))
    assert sorted(one["verdict"] for one in sent) == sorted(row["verdict"] for row in rows)
    assert (out / "report.html").is_file() and json.loads((out / "drift.json").read_text())["levels"]
    assert json.loads((out / "run.json").read_text())["finished"] is True


@pytest.mark.slow
def test_verdicts_that_wait_for_a_sink_are_told_of_and_sent_the_next_time(tmp_path):
    pytest.importorskip("httpx")
    from sink_servers import free_port, receiver

    port = free_port()
    shutil.copy(FLANGES / "test" / "good-01.jpg", tmp_path)
    hook = f"http://127.0.0.1:{port}/hook"
    words = [tmp_path, "--once", "--object", "flange", "--out", tmp_path / "out", "--sink", hook]
    done = watch(*words)
    assert f"1 verdicts wait for {hook}" in done.output and done.exit_code == 0
    with receiver([(200,)], port) as (_, came):
        done = watch(*words)
    assert "wait for" not in done.output
    assert [json.loads(body)["file"] for _, body in came] == [str(tmp_path / "good-01.jpg")]


def until(word, process):
    """What the process says, up to the line with a word."""
    said = ""
    for line in process.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(said)


@pytest.mark.slow
def test_a_process_that_watches_ends_cleanly_on_sigterm(tmp_path):
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    words = [
        "watch",
        inbox,
        "--object",
        "flange",
        "--threshold",
        "0.9",
        "--out",
        out,
        "--poll",
        "0.05",
        "--settle",
        "0.1",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "anomaly.cli", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        said = until("watching", process)
        shutil.copy(FLANGES / "test" / "good-01.jpg", inbox)
        said += until("good-01.jpg", process)
        process.send_signal(signal.SIGTERM)
        said += process.stdout.read()
    assert process.returncode == 0 and "1 images judged" in said and "Traceback" not in said, said
    assert json.loads((out / "run.json").read_text())["counts"] and (out / "report.html").is_file()


@pytest.mark.slow
def test_nothing_is_lost_or_judged_twice_over_kills(tmp_path):
    pytest.importorskip("watchfiles")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from watch_kills import counted
    finally:
        sys.path.pop(0)
    found = counted(tmp_path / "line", kills=2, seed=int(time.time()))
    wrong = ("lost", "without_a_row", "judged_twice", "unreadable", "in_two_places", "waiting")
    assert found["pictures"] and [found[name] for name in wrong] == [0] * len(wrong), found
    assert found["rows"] == found["pictures"] <= found["sent"]
