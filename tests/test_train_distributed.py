"""Several processes train as one does: torchrun with gloo on the tiny model."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from steervit.processes import Processes
from steervit.training.data.batches import slots
from steervit.training.logs import read_metrics
from steervit.training.state import load_newest

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).parent / "training_driver.py"
SETTINGS = ["train.batch=12", "train.steps=20", "train.save_every=10", "train.validate_every=10",
            "model.head_init_std=0.1", "model.gate_init=0.2", "train.connector_weight_decay=0.01"]  # fmt: skip


def launch(out, processes, *more):
    """Run the driver in `processes` processes as torchrun would; returns what went wrong, if it did."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(DRIVER), str(out), *SETTINGS, *more],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    ended = [one.communicate(timeout=120) for one in started]
    return [error for one, (_, error) in zip(started, ended, strict=True) if one.returncode]


def numbers(out, key="loss"):
    return {line["step"]: line[key] for line in read_metrics(out) if key in line}


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for processes in (1, 2):
        assert not launch(folder / str(processes), processes)
    return folder


def test_two_processes_of_six_equal_one_of_twelve(one_and_two):
    one, two = (numbers(one_and_two / name) for name in "12")
    assert sorted(one) == list(range(1, 21))
    assert max(abs(one[step] - two[step]) for step in one) <= 1e-5
    assert one[20] < one[1]
    masses = [numbers(one_and_two / name, "validation") for name in "12"]
    for step in (0, 10, 20):
        assert masses[0][step] == pytest.approx(masses[1][step], abs=1e-5)


def test_two_processes_go_on_from_a_checkpoint(one_and_two, tmp_path):
    out = tmp_path / "cut"
    assert not launch(out, 2, "train.steps=10")
    assert load_newest(out / "state")["step"] == 10
    assert not launch(out, 2, "--resume")
    assert numbers(out) == pytest.approx(numbers(one_and_two / "2"), abs=1e-6)


def test_a_batch_that_cannot_be_shared_is_an_error():
    assert list(slots(Processes(1, 2), 6)) == [3, 4, 5]
    with pytest.raises(ValueError, match=r"multiple of the 2 processes, got 5.*train.batch=4"):
        slots(Processes(0, 2), 5)
