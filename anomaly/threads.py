"""How many cores are used, and that threads which wait leave them to others.

OpenMP threads spin while they wait for each other. Beside another busy process each image then takes seconds. Knows
nothing of models; `wait_passively` has to run before torch is imported, `import anomaly` does that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Sleep instead of spinning, but only after some microseconds: with none at all an image takes a third longer.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_chosen: int | None = None


def wait_passively() -> None:
    """Set the wait policy of OpenMP for this process, unless the environment has one already."""
    if not PASSIVE.keys() & os.environ.keys():
        os.environ.update(PASSIVE)


def available() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def use(threads: int | None = None, torch_too: bool = True) -> int:
    """Let torch and OpenCV use `threads` cores, all available ones when None; returns how many.

    `OMP_NUM_THREADS` counts as the choice of whoever set it. Without `torch_too` torch is left alone: it may not be
    there.
    """
    import cv2

    global _chosen
    _chosen = threads
    if torch_too:
        import torch

        torch.set_num_threads(chosen())
    cv2.setNumThreads(chosen())
    return chosen()


def here(threads: int) -> None:
    """Let torch use `threads` cores in the thread that calls this, and in no other that computes already.

    Where torch has not been imported there is nothing to say.
    """
    if "torch" not in sys.modules:
        return
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def chosen() -> int:
    """The number of cores that `use` was told or found; without it, what it would find."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return _chosen or (int(given) if given.isdigit() and int(given) else available())


def _quota() -> int | None:
    """Whole cores of a container's CPU quota (cgroup v2: microseconds of each period), None without one."""
    try:
        quota, period = CGROUP_LIMIT.read_text(encoding="ascii").split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # "max" where there is no limit
        return None
