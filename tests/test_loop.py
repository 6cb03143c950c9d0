"""The image loop: results in order, whatever is quickest; failures in their place; few images in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from anomaly.errors import NotJudged, SteerAnomalyError
from anomaly.inspection import Inspection
from anomaly.runs import loop
from anomaly.runs.loop import Failure, inference_workers, inspect_all


@dataclass(frozen=True)
class Photo:
    number: int
    image: np.ndarray


def read(number: int) -> Photo:
    return Photo(number, np.full((2, 3, 3), number, np.uint8))


def judge(image: np.ndarray) -> Inspection:
    heatmap = image[..., 0].astype(np.float32)
    return Inspection(float(heatmap.max()), False, heatmap, heatmap > 9, (), None, "part", "fake")


def inspect(images):
    return [judge(image) for image in images]


def write(photo, inspection):
    return lambda: (photo.number, inspection.score)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_whatever_is_quickest(batch_size, workers):
    def slowly(function):
        def waiting(argument):
            number = argument if isinstance(argument, int) else int(argument[0].max())
            time.sleep(0.004 * (number % 3))
            return function(argument)

        return waiting

    found = list(
        inspect_all(range(20), slowly(read), slowly(inspect), write, batch_size=batch_size, workers=workers)
    )
    assert found == [(i, (i, float(i))) for i in range(20)]


def test_failures_stay_in_their_place_and_the_others_go_on():
    def reads(number):
        if number == 1:
            raise SteerAnomalyError("no such file")
        return read(number)

    def inspects(images):
        return [NotJudged("too dark") if image.max() == 2 else judge(image) for image in images]

    found = [row for _, row in inspect_all(range(4), reads, inspects, write, batch_size=4)]
    assert found == [(0, 0.0), Failure("no such file", unreadable=True), Failure("too dark"), (3, 3.0)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["score", "map", "shape"])
def test_a_result_that_cannot_be_believed_is_a_failure(value, where):
    def inspects(images):
        (image,) = images
        heatmap = np.zeros((4, 4) if where == "shape" else image.shape[:2], np.float32)
        heatmap[0, 1] = value if where == "map" else 0
        return [
            Inspection(value if where == "score" else 1.0, False, heatmap, heatmap > 0, (), None, "p", "m")
        ]

    ((_, row),) = inspect_all([0], read, inspects, write)
    assert isinstance(row, Failure) and not row.unreadable
    assert ("size" if where == "shape" else "not finite") in row.reason


def test_reading_inspecting_and_writing_overlap():
    """Three steps that wait for each other's first image to be done would never end if they took turns."""
    second_read, second_inspected = threading.Event(), threading.Event()

    def reads(number):
        if number == 1:
            second_read.set()
        return read(number)

    def inspects(images):
        if images[0].max() == 1:
            second_inspected.set()
        elif images[0].max() == 0:
            assert second_read.wait(20) or len(images) > 1
        return inspect(images)

    def writes(photo, inspection):
        def finish():
            assert photo.number != 0 or second_inspected.wait(20)
            return photo.number

        return finish

    found = [row for _, row in inspect_all(range(6), reads, inspects, writes, batch_size=1)]
    assert found == list(range(6))


def test_large_images_are_few_at_a_time(monkeypatch):
    monkeypatch.setattr(loop, "PIXELS", 12)  # two images of six pixels
    alive, most, lock = set(), [0], threading.Lock()

    def reads(number):
        with lock:
            alive.add(number)
            most[0] = max(most[0], len(alive))
        return read(number)

    def writes(photo, inspection):
        def finish():
            time.sleep(0.002)
            with lock:
                alive.discard(photo.number)
            return photo.number

        return finish

    list(inspect_all(range(40), reads, inspect, writes, batch_size=16, workers=2))
    assert most[0] <= 12  # up to two read, two in each of two batches, two handed on, two written


def test_an_error_ends_the_loop_and_what_was_yielded_stays():
    def writes(photo, inspection):
        def finish():
            if photo.number == 3:
                raise OSError("disk full")
            return photo.number

        return finish

    done = []
    with pytest.raises(OSError, match="disk full"):
        done += [
            number for number, _ in _noted(inspect_all(range(9), read, inspect, writes, batch_size=1), done)
        ]
    assert done == [0, 1, 2]


def _noted(results, done):
    for number, _ in results:
        done.append(number)
    yield from ()


def test_no_images_are_no_work():
    assert list(inspect_all([], read, inspect, write)) == []


def test_workers_share_the_threads_and_give_them_back():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with inference_workers("cpu") as workers:
            assert (workers, torch.get_num_threads()) == (2, 1)
        assert torch.get_num_threads() == 2
        with inference_workers("cuda:0") as workers:
            assert (workers, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)
