"""The queue before the model: several at a time, never mixed up, limited, and finished at the end."""

import threading
import time

import numpy as np
import pytest
import torch
from line_service import Brightness

from anomaly.errors import SteerAnomalyError
from anomaly.line.batching import TOGETHER, Batcher, Full, Stopped


def grey(level, side=4):
    return np.full((side, side, 3), level, np.uint8)


@pytest.fixture(params=[1, 3])
def batcher(request):
    made = Batcher(40, 10_000, request.param)
    yield made
    made.stop()


class Counting(Brightness):
    """Knows how many threads are in it at a time, and how many cores each of them may use."""

    def __init__(self, device="cpu"):
        super().__init__(device)
        self.inside, self.most, self.cores = 0, 0, []
        self.lock = threading.Lock()

    def observe(self, images, object):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.cores.append(torch.get_num_threads())
        found = super().observe(images, object)
        time.sleep(0.001)
        with self.lock:
            self.inside -= 1
        return found


@pytest.mark.parametrize("device", ["cpu", "onnxruntime on cpu", "cuda"])
def test_everyone_gets_their_own_answer(batcher, device):
    inspector = Brightness(device)
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(level)) for level in range(30)]
    inspector.slow.set()
    assert [one.result(5).score for one in waiting] == [float(level) for level in range(30)]
    assert max(inspector.batches) <= TOGETHER and sum(inspector.batches) == 30
    assert (len(inspector.batches) < 30) == (device == "cuda")  # together, but not too many


def test_on_a_cpu_pictures_are_judged_side_by_side_and_one_that_is_alone_has_all_cores():
    batcher, inspector = Batcher(40, 10_000, 3), Counting()
    try:
        batcher.submit(inspector, "part", grey(1)).result(5)
        assert inspector.cores == [3] and inspector.most == 1
        inspector.slow.clear()
        waiting = [batcher.submit(inspector, "part", grey(level)) for level in range(12)]
        inspector.slow.set()
        assert [one.result(5).score for one in waiting] == [float(level) for level in range(12)]
        assert inspector.most == 3 and inspector.cores.count(1) >= 10
        assert torch.get_num_threads() == 1  # of this thread nothing was changed
    finally:
        batcher.stop()


def test_what_is_no_cpu_is_asked_by_one_at_a_time_also_while_something_can_wait():
    batcher, inspector = Batcher(40, 10_000, 3), Counting("cuda")
    try:
        waiting = [batcher.submit(inspector, "part", grey(1)) for _ in range(20)]
        with batcher.between():
            inspector.observe([grey(1)], "part")
            waiting += [batcher.submit(inspector, "part", grey(2)) for _ in range(9)]
            time.sleep(0.02)
        assert [one.result(5).score for one in waiting] == 20 * [1.0] + 9 * [2.0] and inspector.most == 1
    finally:
        batcher.stop()


def test_who_gave_up_waiting_costs_no_work(batcher):
    inspector = Brightness()
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(level)) for level in range(9)]
    time.sleep(0.02)
    assert [one.cancel() for one in waiting[4:]] == 5 * [True]
    inspector.slow.set()
    assert [one.result(5).score for one in waiting[:4]] == [0.0, 1.0, 2.0, 3.0]
    batcher.submit(inspector, "part", grey(1)).result(5)
    assert sum(inspector.batches) == 5


def test_parts_and_inspectors_are_not_mixed_in_a_batch(batcher):
    one, other = Brightness("cuda"), Brightness("cuda")
    one.slow.clear()
    found = [
        batcher.submit(inspector, part, grey(7))
        for inspector in (one, other)
        for part in ("a", "b")
        for _ in "xy"
    ]
    one.slow.set()
    assert [result.result(5).score for result in found] == [7.0] * 8
    assert sum(other.batches) == 4 and max(other.batches) <= 2


def test_one_that_cannot_be_observed_does_not_take_the_others_with_it(batcher):
    inspector = Brightness("cuda")
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(5, side)) for side in (4, 13, 4)]
    inspector.slow.set()
    assert waiting[0].result(5).score == waiting[2].result(5).score == 5.0
    with pytest.raises(SteerAnomalyError, match="ValueError"):
        waiting[1].result(5)


def test_a_full_queue_says_when_to_come_again(batcher):
    inspector = Brightness()
    inspector.slow.clear()
    with pytest.raises(Full) as full:
        for _ in range(60):
            batcher.submit(inspector, "part", grey(1))
    assert full.value.seconds >= 1 and batcher.waiting == 40
    with pytest.raises(Full):
        batcher.submit(inspector, "part", grey(1, 99))  # pixels count, too
    inspector.slow.set()


@pytest.mark.parametrize(("cores", "device"), [(1, "cpu"), (3, "cpu"), (3, "cuda")])
def test_stopping_finishes_what_was_taken_and_takes_no_more(cores, device):
    batcher, inspector = Batcher(40, 10_000, cores), Brightness(device)
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(level)) for level in range(20)]
    threading.Timer(0.05, inspector.slow.set).start()
    batcher.stop()
    assert [one.result(0).score for one in waiting] == [float(level) for level in range(20)]
    with pytest.raises(Stopped):
        batcher.submit(inspector, "part", grey(1))


def test_what_can_wait_goes_after_what_is_queued(batcher):
    inspector, order = Brightness(), []
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(1)) for _ in range(9)]
    for one in waiting:
        one.add_done_callback(lambda _: order.append("part"))

    def background():
        with batcher.between():
            order.append("calibration")

    thread = threading.Thread(target=background)
    thread.start()
    time.sleep(0.02)
    inspector.slow.set()
    thread.join(5)
    assert order.index("calibration") >= 1 and batcher.waiting == 0


def test_someone_alone_does_not_wait_for_others(batcher):
    inspector = Brightness()
    began = time.perf_counter()
    for _ in range(20):
        batcher.submit(inspector, "part", grey(1)).result(5)
    assert time.perf_counter() - began < 2
    with batcher.arriving():  # somebody is coming: wait a little, not for ever
        batcher.submit(inspector, "part", grey(1)).result(5)
