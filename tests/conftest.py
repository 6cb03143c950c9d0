"""One thread per process: the models here are tiny, and threads that wait for each other on a busy machine are
many times slower than one that does not wait. Set before torch is imported; subprocesses inherit it."""

import os

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem):
    """The run ends with a test process: pytest-xdist hands finished files out again, and waits for them for ever."""
    pytest.exit(f"the process that ran {crashitem} died", returncode=1)


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory):
    """One torch thread, and a cache where the scenes of a whole test file are drawn once."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)
