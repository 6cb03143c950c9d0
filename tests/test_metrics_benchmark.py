"""The benchmark script runs, on maps small enough for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc")
def test_benchmark_prints_a_table():
    script = Path(__file__).parent.parent / "benchmarks" / "metrics.py"
    command = [sys.executable, script, "--images", "4", "--size", "64", "--repeats", "1", "--only", "ours"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "| `anomaly.metrics`" in done.stdout
