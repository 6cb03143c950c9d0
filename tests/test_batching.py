"""The queue before the model: together what comes together, never mixed up, limited, and finished at the end."""

import threading
import time

import numpy as np
import pytest
from line_service import Brightness

from anomaly.errors import SteerAnomalyError
from anomaly.line.batching import TOGETHER, Batcher, Full, Stopped


def grey(level, side=4):
    return np.full((side, side, 3), level, np.uint8)


@pytest.fixture
def batcher():
    made = Batcher(40, 10_000)
    yield made
    made.stop()


def test_everyone_gets_their_own_answer(batcher):
    inspector = Brightness()
    inspector.slow.clear()
    waiting = [batcher.submit(inspector, "part", grey(level)) for level in range(30)]
    inspector.slow.set()
    assert [one.result(5).score for one in waiting] == [float(level) for level in range(30)]
    assert max(inspector.batches) <= TOGETHER and len(inspector.batches) < 30  # together, but not too many


def test_parts_and_inspectors_are_not_mixed_in_a_batch(batcher):
    one, other = Brightness(), Brightness()
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
    inspector = Brightness()
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


def test_stopping_finishes_what_was_taken_and_takes_no_more():
    batcher, inspector = Batcher(40, 10_000), Brightness()
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
