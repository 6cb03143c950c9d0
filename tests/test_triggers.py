"""Which frames are parts."""

import io
import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from anomaly.line.frames import Frame, SourceLost
from anomaly.line.triggers import Every, Http, Key, Motion


def frame(image=None, at=0.0):
    return Frame(np.zeros((4, 4, 3), np.uint8) if image is None else image, at, 1)


def scene(x=None, side=120):
    """A grey table, with a bright part at `x`."""
    image = np.full((side, side, 3), 80, np.uint8)
    if x is not None:
        image[40:80, x : x + 40] = 200
    return image


def test_every_frame_or_one_in_so_long():
    assert all(Every().wants(frame(), at) for at in (0, 0.1, 0.2))
    timed = Every(1.0)  # the clock on the wall may jump meanwhile
    assert [timed.wants(frame(at=1000 - 90 * at), at) for at in (5.0, 5.5, 5.9, 6.0, 6.5, 7.1)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


def test_motion_fires_once_when_a_part_has_come_to_rest():
    trigger, random = Motion(0.01), np.random.default_rng(0)
    places = [None] * 3 + [0, 20, 40, 60] + [60] * 6 + [80] + [None] * 5
    noisy = [np.clip(scene(x) + random.normal(0, 2, (120, 120, 3)), 0, 255).astype(np.uint8) for x in places]
    fired = [number for number, image in enumerate(noisy) if trigger.wants(frame(image), 0)]
    # It moves until frame 6, so 7, 8 and 9 stand still; it leaves until 14, so 15, 16, 17 do.
    assert fired == [9, 17]


def test_motion_of_a_few_pixels_is_none():
    trigger = Motion(0.5)
    assert not any(trigger.wants(frame(scene(x)), 0) for x in [0, 20, 40, 40, 40, 40, 40])


def test_a_key_takes_the_next_frame_once_and_ends_with_its_input():
    trigger = Key(io.StringIO("\n\n"))
    time.sleep(0.2)
    now = time.monotonic()
    assert not trigger.wants(frame(), now - 10)  # a frame from before the key
    assert not trigger.ended
    assert [trigger.wants(frame(), now) for _ in range(3)] == [True, True, False]
    until = time.monotonic() + 20
    while not trigger.ended and time.monotonic() < until:
        time.sleep(0.02)
    assert trigger.ended


@pytest.fixture
def http():
    trigger = Http(0)
    yield trigger
    trigger.close()


def post(trigger, path="/trigger", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{trigger.port}{path}", b"", headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def asked(trigger, do):
    """Post, and do something with the frame that is taken."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(post(trigger)))
    thread.start()
    one = frame()
    while not trigger.wants(one, time.monotonic()):
        time.sleep(0.01)
    do(one.answers[0])
    thread.join()
    return answers[0]


def test_a_request_takes_a_frame_and_is_answered_with_the_verdict(http):
    assert not http.wants(frame(), time.monotonic())
    assert asked(http, lambda answer: answer.set_result({"verdict": "ok"})) == (200, {"verdict": "ok"})


def test_a_dropped_frame_is_no_verdict(http):
    status, answer = asked(http, lambda answer: answer.set_exception(SourceLost("dropped")))
    assert status == 503 and "verdict" not in answer


@pytest.mark.parametrize(
    "path, headers, status",
    [
        ("/", {}, 404),
        ("/trigger", {"Origin": "http://evil.example"}, 403),
        ("/trigger", {"Host": "evil.example:80"}, 403),
    ],
)
def test_others_cannot_trigger(http, path, headers, status):
    assert post(http, path, **headers)[0] == status
    assert not http.wants(frame(), time.monotonic())


def test_no_frame_in_time_is_no_verdict(http, monkeypatch):
    from anomaly.line import triggers

    monkeypatch.setattr(triggers, "ANSWER_WITHIN", 0.05)
    assert post(http)[0] == 504
