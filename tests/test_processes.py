"""Processes: alone, and two that wait for each other longer than a sum may take."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from steervit.processes import Processes, joined

TWO = """
import sys, time
from datetime import timedelta
import torch
from steervit import processes

processes.SUM_TIMEOUT = timedelta(seconds=2)
with processes.joined("cpu") as here:
    if here.leads:
        time.sleep(5)  # draws scenes
    here.wait()
    total = here.total(torch.tensor([here.rank + 1.0])).item()
    print(here.gather(here.rank), here.broadcast(f"from {here.rank}"), total, flush=True)
"""


def start(rank, port):
    group = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    environment = {**os.environ, **{key: str(value) for key, value in group.items()}}
    return subprocess.Popen(
        [sys.executable, "-c", TWO],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_others_wait_while_the_first_works_longer_than_a_sum_may_take():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(rank, port) for rank in range(2)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert [out.strip() for out, _ in said] == ["[0, 1] from 0 3.0"] * 2


def test_one_process_alone_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as alone:
        assert alone == Processes() and alone.leads and alone.device == "cpu"
        alone.wait()
        assert alone.gather("a") == ["a"] and alone.broadcast("b") == "b"
        assert alone.total(torch.ones(2)).tolist() == [1, 1]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_hold_every_item_once(count):
    shares = [Processes(rank, count).share(range(7)) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(7))
