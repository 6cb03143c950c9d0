"""The command line that the documentation gives for several processes, as it is: two of them, by gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_recipes import TINY_SCENES, TRAIN, as_options

from steervit.training import run
from steervit.training.logs import read_metrics
from steervit.training.recipe import load

BIN = Path(sys.executable).parent
SETTINGS = [*TINY_SCENES, "train.schedule.warmup=2", "train.precision=fp32"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ((BIN / "torchrun").exists() and (BIN / "steer-anomaly").exists()),
        reason=f"torchrun and steer-anomaly are not both in {BIN}",
    ),
]


def torchrun(cache, *arguments):
    """`torchrun --nproc-per-node 2 $(which steer-anomaly) train ...`, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(cache),
        "OMP_NUM_THREADS": "1",
        "PET_MASTER_PORT": str(port),
    }
    command = [BIN / "torchrun", "--nproc-per-node", "2", BIN / "steer-anomaly", "train", "smoke", *arguments]
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=300)


def numbers(out):
    return {line["step"]: (line["loss"], line["pmass"]) for line in read_metrics(out) if "loss" in line}


def test_two_processes_train_and_go_on_as_one_does(tmp_path, monkeypatch):
    cache, out, alone = tmp_path / "cache", tmp_path / "two", tmp_path / "one"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    options = ["--out", str(out), "--device", "cpu", *as_options(SETTINGS)]
    first = torchrun(cache, *options)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("4 steps, best pmass") == 1  # one process speaks
    assert "Warning" not in first.stderr
    again = torchrun(cache, *options, "--resume", "--set", "train.steps=6")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("going on from step 4") == 1
    run.train(load("smoke", TRAIN, [*SETTINGS, "train.steps=6"]), alone, device="cpu", say=lambda text: None)
    one, two = numbers(alone), numbers(out)
    assert sorted(two) == list(range(1, 7))
    for step, values in one.items():
        assert two[step] == pytest.approx(values, abs=1e-5)
