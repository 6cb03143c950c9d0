"""Threads that wait sleep, and no more of them than there are cores to run on."""

import os
import subprocess
import sys

import pytest

from anomaly import threads


def told_by(code, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in (*threads.PASSIVE, "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_wait_policy_is_set_before_torch_is_there_unless_somebody_chose_one():
    code = "import sys, anomaly.cli, os; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    assert told_by(code) == ["PASSIVE", "False"]
    assert told_by(code, OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE", "False"]


def test_the_default_is_what_the_process_may_use(monkeypatch, tmp_path):
    monkeypatch.setattr(threads, "CGROUP_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert threads.available() == 4
    for limit, cores in (("max 100000", 4), ("200000 100000", 2), ("20000 100000", 1), ("900000 100000", 4)):
        (tmp_path / "cpu.max").write_text(limit + "\n")
        assert threads.available() == cores, limit


@pytest.mark.parametrize(("environment", "asked", "used"), [({}, 3, 3), ({"OMP_NUM_THREADS": "5"}, None, 5)])
@pytest.mark.slow
def test_a_number_that_was_given_is_used(environment, asked, used):
    code = f"import anomaly.threads as t; n = t.use({asked}); import torch; print(n, torch.get_num_threads())"
    assert told_by(code, **environment) == [str(used), str(used)]
