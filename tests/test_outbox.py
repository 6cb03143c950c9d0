"""The outbox: nothing is lost, nothing is sent twice but with its id, order stays."""

import json
import sqlite3
import time

import pytest

from anomaly.line import outbox
from anomaly.line.outbox import Sinks
from anomaly.line.sinks.delivery import SinkDown, SinkRefused


class Fake:
    """A sink that fails as `errors` say, one after the other, then takes everything."""

    newest_only = False

    def __init__(self, *errors):
        self.errors, self.got = list(errors), []

    def deliver(self, message):
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.got.append(message["id"])

    def idle(self):
        pass

    def close(self):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "FIRST_WAIT", 0.01)


def send(folder, sink, ids, warned=None, patience=5.0):
    sinks = Sinks({"sink": sink}, folder, (warned if warned is not None else []).append)
    for id in ids:
        sinks.send({"id": id, "verdict": "ok"})
    sinks.close(patience)
    return sinks


def test_messages_go_out_in_order_and_an_id_once(tmp_path):
    sink = Fake()
    send(tmp_path, sink, ["1", "2", "1", "3"])
    send(tmp_path, sink, ["3", "4"])  # after a restart
    assert sink.got == ["1", "2", "3", "4"]


def test_a_sink_that_is_down_gets_everything_in_order_when_it_is_back(tmp_path):
    sink, warned = Fake(SinkDown("gone"), SinkDown("gone"), OSError("library"), None), []
    send(tmp_path, sink, ["1", "2", "3"], warned)
    assert sink.got == ["1", "2", "3"]
    assert len(warned) == 2 and "gone" in warned[0] and "is back" in warned[1]  # once each


def test_what_waits_when_we_leave_goes_out_after_the_next_start(tmp_path):
    began = time.monotonic()
    down = send(tmp_path, Fake(*[SinkDown("gone")] * 10_000), ["1", "2"], patience=0.1)
    assert time.monotonic() - began < 5
    (status,) = down.status()
    assert status["waiting"] == 2 and status["sent"] == 0 and status["error"] == "gone"
    up = Fake()
    assert send(tmp_path, up, ["3"]).status()[0]["sent"] == 3
    assert up.got == ["1", "2", "3"]


def test_a_message_that_is_refused_becomes_a_dead_letter_and_others_go_on(tmp_path):
    sink, warned = Fake(*[SinkRefused("answered 400")] * outbox.TRIES), []
    sinks = send(tmp_path, sink, ["1", "2"], warned)
    (letter,) = map(json.loads, (tmp_path / outbox.DEAD_LETTERS).read_text().splitlines())
    assert letter == {"sink": "sink", "reason": "answered 400", "message": {"id": "1", "verdict": "ok"}}
    assert sink.got == ["2"] and sinks.status()[0]["dead"] == 1 and "400" in warned[0]


def test_a_refusal_that_passes_is_no_dead_letter(tmp_path):
    sink = Fake(SinkRefused("answered 401"))
    send(tmp_path, sink, ["1"])
    assert sink.got == ["1"] and not (tmp_path / outbox.DEAD_LETTERS).exists()


def test_a_signal_for_a_part_that_has_passed_is_not_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "FRESH", 0.0)
    sink = Fake()
    sink.newest_only = True
    send(tmp_path, Fake(*[SinkDown("gone")] * 10_000), ["1", "2", "3"], patience=0.05)
    assert send(tmp_path, sink, ["4"]).status()[0]["waiting"] == 0
    assert sink.got[-1] == "4" and not {"1", "2"} & set(sink.got)


def test_a_clock_that_was_set_back_makes_no_old_signal_fresh(tmp_path, monkeypatch):
    sink = Fake()
    sink.newest_only = True
    send(tmp_path, Fake(*[SinkDown("gone")] * 10_000), ["1", "2"], patience=0.05)
    now = time.time
    monkeypatch.setattr(outbox.time, "time", lambda: now() - 3600)
    send(tmp_path, sink, ["3"])
    assert sink.got[-1] == "3" and "1" not in sink.got


def test_a_full_disk_does_not_end_the_line(tmp_path, monkeypatch):
    full, settle, sink, warned = [True, True], outbox._settle, Fake(), []

    def settled(*what):
        if full and full.pop():
            raise sqlite3.OperationalError("database or disk is full")
        settle(*what)

    monkeypatch.setattr(outbox, "_settle", settled)
    monkeypatch.setattr(outbox, "LONGEST_WAIT", 0.1)
    found = send(tmp_path, sink, ["1", "2"], warned)
    assert sorted(set(sink.got)) == ["1", "2"] and found.status()[0]["sent"] == 2
    assert "disk is full" in warned[0] and "is back" in warned[1]


def test_days_without_a_receiver_cost_no_time(tmp_path):
    """A day at a part per second, and another sink's that has been sent."""
    sinks = Sinks({"sink": Fake()}, tmp_path, print)
    sinks.close()
    with outbox._opened(tmp_path / outbox.FILE) as connection:
        for sink, state in (("down", "waiting"), ("signal", "sent")):
            rows = [(sink, str(number), time.time(), "x" * 600, state) for number in range(86_400)]
            connection.executemany(
                "INSERT INTO message (sink, id, made, body, state) VALUES (?, ?, ?, ?, ?)", rows
            )
        connection.commit()
        steps = []
        connection.set_progress_handler(lambda: steps.append(1), 100)
        assert outbox._next(connection, "down", False)[0] == 1
        assert outbox._next(connection, "signal", True) is None
        assert not outbox._is_passed(connection, "signal", 172_800)
    assert len(steps) < 50  # hundreds of SQLite's steps: an index is used, nothing is gone through


def test_several_sinks_each_get_everything(tmp_path):
    one, two = Fake(), Fake(SinkDown("gone"))
    with Sinks({"one": one, "two": two}, tmp_path, [].append) as sinks:
        sinks.send({"id": "1"})
    assert one.got == two.got == ["1"]


def test_a_message_is_on_disk_when_send_returns(tmp_path):
    sinks = Sinks({"sink": Fake(*[SinkDown("gone")] * 10_000)}, tmp_path, [].append)
    sinks.send({"id": "1"})
    with sqlite3.connect(tmp_path / outbox.FILE) as other:  # as another process after kill -9
        assert other.execute("SELECT id, state FROM message").fetchall() == [("1", "waiting")]
    other.close()
    sinks.close(0.0)


def test_old_ids_are_forgotten_at_last(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "REMEMBERED", 3)
    send(tmp_path, Fake(), map(str, range(10)))
    assert send(tmp_path, Fake(), ["10"]).status()[0]["sent"] <= 5
