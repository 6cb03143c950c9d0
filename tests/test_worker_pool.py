"""Workers: tasks are done, the dead are replaced, and nothing that dies or stands still is waited for."""

import importlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import worker_tasks
from drawn_archive import draw, wait_for

from anomaly.archive import worker_pool
from anomaly.archive.worker_pool import Kind, WorkerPool
from anomaly.errors import SteerAnomalyError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc"),
]


def results(pool, tasks, seconds=60.0):
    """The results of all tasks; what died is handed out again. Fails when it takes long."""
    todo, found, end = list(tasks), [], time.monotonic() + seconds
    while todo or pool.busy:
        assert time.monotonic() < end, "the pool stands still"
        for worker in pool.idle:
            if todo:
                pool.give(worker, todo.pop())
        for event in pool.events(0.2):
            if event.kind is Kind.DONE:
                found.append(event.content)
            elif event.kind is Kind.DIED and event.content is not None:
                todo.append(event.content)
    return found


@pytest.mark.parametrize("forked", [True, False])
def test_every_task_is_done_once_and_what_is_loaded_is_shared_where_it_can_be(forked):
    with WorkerPool(worker_tasks.made, worker_tasks.square, 2, forked) as pool:
        found = results(pool, range(40))
    assert sorted(square for square, *_ in found) == [i * i for i in range(40)]
    makers, workers = {maker for _, maker, *_ in found}, {worker for _, _, worker, _ in found}
    assert (len(makers) == 1 and not makers & workers) if forked else makers == workers
    if forked:
        assert all(len(threads) == 1 for *_, threads in found)
    for one in makers | workers:
        wait_for(lambda one=one: not alive(one))


def test_nothing_that_a_model_loads_has_threads_where_workers_are_forked(tmp_path):
    (path,) = draw(tmp_path, 1, side=40)
    with WorkerPool(worker_tasks.nano, worker_tasks.inspected, 1) as pool:
        ((verdict, threads),) = results(pool, [str(path)])
    assert verdict in ("ok", "defect") and len(threads) == 1


@contextmanager
def busy_threads():
    """Threads that hold every kind of lock a program has, most of the time."""
    over, lock = threading.Event(), threading.Lock()
    inbox = queue.Queue(1)
    log = logging.getLogger("busy")
    log.addHandler(logging.FileHandler(os.devnull))
    log.propagate = False

    def importing():
        while not over.is_set():
            sys.modules.pop("colorsys", None)
            importlib.import_module("colorsys")
            with lock:
                time.strftime("%c", time.localtime())
                subprocess.run(["true"], check=True)

    def logging_():
        while not over.is_set():
            log.warning("busy")
            with lock:
                inbox.put(1)
                inbox.get()

    threads = [threading.Thread(target=one, daemon=True) for one in (importing, logging_, logging_)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()
        log.handlers.pop().close()


def test_threads_that_are_busy_while_workers_are_started_hold_up_nothing():
    with busy_threads():
        for _ in range(20):
            with WorkerPool(worker_tasks.made, worker_tasks.square, 2) as pool:
                assert len(results(pool, range(4))) == 4


def test_a_task_whose_worker_dies_comes_back(tmp_path):
    with WorkerPool(worker_tasks.made, worker_tasks.deadly, 2) as pool:
        found = results(pool, [(str(tmp_path / "flag"), i) for i in range(8)])
    assert sorted(found) == list(range(8))


def test_workers_go_on_when_the_nursery_dies_and_there_is_another():
    with WorkerPool(worker_tasks.made, worker_tasks.square, 2) as pool:
        ((_, nursery, _, _),) = results(pool, [1])
        os.kill(nursery, signal.SIGKILL)
        assert {maker for _, maker, *_ in results(pool, [2, 3])} == {nursery}
        worker = next(found[2] for found in results(pool, [4]))
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: list(pool.events(0.1)) or len(pool.idle) == 2)
        wait_for(lambda: not list(pool.events(0.1)) and len(pool.idle) == 2)
        assert len({maker for _, maker, *_ in results(pool, range(9))}) == 2


def test_a_worker_that_stands_still_is_ended_told_of_and_replaced(monkeypatch):
    monkeypatch.setattr(worker_pool, "SILENT", 0.5)
    said, begun = [], []
    with WorkerPool(worker_tasks.made, worker_tasks.slow, 1, say=said.append) as pool:
        wait_for(lambda: list(pool.events(0.1)) or pool.idle)
        pool.give(pool.idle[0], 1000)
        died = None
        while died is None:
            for event in pool.events(0.1):
                if event.kind is Kind.SIGN:
                    begun.append(event.content)
                    os.kill(event.content, signal.SIGSTOP)
                elif event.kind is Kind.DIED:
                    died = event
        assert died.content == 1000 and "has not finished an image for 0 s" in said[0]
        wait_for(lambda: not alive(begun[0]))
        assert results(pool, [0]) == [None]


def test_a_model_that_does_not_load_is_tried_again_and_then_given_up(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(worker_pool, "LOADING", 3.0)
    stuck = worker_tasks.StuckOnce(str(tmp_path / "flag"))
    with WorkerPool(stuck, worker_tasks.slow, 2, say=said.append) as pool:
        assert results(pool, [0, 0]) == [None, None]
    assert len(said) == 1 and "has not started for 3 s and is replaced" in said[0]
    with (
        pytest.raises(SteerAnomalyError, match="before they began, 5 times"),
        WorkerPool(worker_tasks.dead, worker_tasks.slow, 2) as pool,
    ):
        results(pool, [0])


@pytest.mark.parametrize("forked", [True, False])
def test_what_goes_wrong_while_loading_is_told(forked):
    with (
        pytest.raises(SteerAnomalyError, match="no model") as raised,
        WorkerPool(worker_tasks.broken, worker_tasks.slow, 2, forked) as pool,
    ):
        results(pool, [0])
    assert raised.value


@pytest.mark.parametrize(
    ("make", "processes"),
    [
        ("made", "pool._workers if pool.busy else []"),
        ("long", "[pool._nursery]"),  # while it still loads
    ],
)
def test_processes_end_with_a_driver_that_is_killed(make, processes):
    program = (
        "import worker_tasks\n"
        "from anomaly.archive.worker_pool import WorkerPool\n"
        f"pool, told = WorkerPool(worker_tasks.{make}, worker_tasks.slow, 2), set()\n"
        "while True:\n"
        "    list(pool.events(0.1))\n"
        "    for worker in pool.idle: pool.give(worker, 1000)\n"
        f"    for one in {processes}:\n"
        "        if one.pid not in {*told, None}: print(one.pid, flush=True); told.add(one.pid)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    driver = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    with driver:
        pids = [int(driver.stdout.readline()) for _ in range(2 if make == "made" else 1)]
        time.sleep(0.5)  # until the nursery runs
        assert all(map(alive, pids))
        driver.kill()
    for pid in pids:
        wait_for(lambda pid=pid: not alive(pid))


def alive(pid):
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
