"""One thread per process: the models here are tiny, and threads that wait for each other on a busy machine are
many times slower than one that does not wait. Set before torch is imported; subprocesses inherit it."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
