"""Sinks against real servers: what arrives, what is signed, what happens when nobody is there."""

import base64
import csv
import hashlib
import hmac
import json
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sink_servers import MOSQUITTO, amqtt_broker, free_port, modbus_device, mosquitto_broker, receiver

from anomaly.errors import SteerAnomalyError
from anomaly.line.outbox import sink_of
from anomaly.line.sinks.delivery import SinkDown, SinkRefused, without_password
from anomaly.line.sinks.webhook import signed


def message(id="1", verdict="ok", **more):
    return {
        "id": id,
        "time": "2026-01-01T00:00:00Z",
        "verdict": verdict,
        "score": 1.5,
        "file": "ä.png",
    } | more


# Tables ------------------------------------------------------------------------------------------------


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_has_one_header_and_a_line_per_verdict(tmp_path):
    path = tmp_path / "sub" / "verdicts.csv"
    for number in (1, 2):
        sink = sink_of(f"csv:{path}")  # opened anew, as after a restart
        sink.deliver(message(str(number), regions=[{}, {}], error='says "no",\nthen'))
        sink.close()
    rows = rows_of(path)
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[0]["regions"] == "2" and rows[0]["error"] == 'says "no",\nthen' and rows[0]["file"] == "ä.png"


def test_a_line_torn_by_a_crash_costs_no_other(tmp_path):
    path = tmp_path / "v.csv"
    sink = sink_of(f"csv:{path}")
    sink.deliver(message("1"))
    with path.open("ab") as file:
        file.write(b"2026-01-01,o")
    sink.deliver(message("2"))
    assert [row["id"] for row in rows_of(path)][::2] == ["1", "2"]


def test_a_table_that_cannot_be_written_is_down(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkDown, match="cannot write"):
        sink_of(f"csv:{tmp_path / 'file' / 'v.csv'}").deliver(message())
    with pytest.raises(SteerAnomalyError, match="is a folder"):
        sink_of(f"csv:{tmp_path}")


# Webhooks ----------------------------------------------------------------------------------------------


def test_a_signature_solved_by_hand():
    headers = signed("msg_1", 1700000000, b'{"a": 1}', b"key")
    # printf 'msg_1.1700000000.{"a": 1}' | openssl dgst -sha256 -hmac key -binary | base64
    by_hand = hmac.digest(b"key", b'msg_1.1700000000.{"a": 1}', hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(by_hand).decode()
    assert "webhook-signature" not in signed("msg_1", 1700000000, b"", None)


@pytest.mark.parametrize(
    "secret, key", [("s3cret\n", b"s3cret"), ("whsec_" + base64.b64encode(b"raw").decode(), b"raw")]
)
def test_a_webhook_is_posted_and_signed(tmp_path, secret, key):
    pytest.importorskip("httpx")
    (tmp_path / "secret").write_text(secret)
    with receiver([(200,)]) as (url, came):
        sink = sink_of(f"{url}?line=3#secret-file={tmp_path / 'secret'}")
        sink.deliver(message("abc", "defect"))
        sink.close()
    ((headers, body),) = came
    headers = {name.lower(): value for name, value in headers.items()}
    assert json.loads(body) == message("abc", "defect") and headers["webhook-id"] == "abc"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    signed_by_us = hmac.digest(key, f"abc.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(signed_by_us).decode()
    assert "secret" not in str(headers)


def post_to(url):
    with closing(sink_of(url)) as sink:
        sink.deliver(message())


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_answers_that_ask_for_another_try(status):
    pytest.importorskip("httpx")
    with (
        receiver([(status, ("retry-after", "7"))]) as (url, _),
        pytest.raises(SinkDown, match=str(status)) as caught,
    ):
        post_to(url)
    assert caught.value.wait == 7


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_answers_that_refuse_and_redirects_are_not_followed(status):
    pytest.importorskip("httpx")
    with (
        receiver([(status, ("location", "http://127.0.0.1:1/"))]) as (url, came),
        pytest.raises(SinkRefused, match=str(status)),
    ):
        post_to(url)
    assert len(came) == 1


def test_nobody_there_is_down():
    pytest.importorskip("httpx")
    with pytest.raises(SinkDown, match="no answer"):
        post_to(f"http://127.0.0.1:{free_port()}/")


# MQTT --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request, tmp_path):
    """Starts a broker at a port, as often as wanted."""
    pytest.importorskip("paho")
    if request.param == "amqtt":
        pytest.importorskip("amqtt")
        return lambda port: amqtt_broker(port, tmp_path)
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    return lambda port: mosquitto_broker(port, tmp_path)


class Listener:
    """What comes on a topic."""

    def __init__(self, port, topic):
        from paho.mqtt.client import CallbackAPIVersion, Client

        self.came, ready = [], threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda client, data, one: self.came.append(
            (one.topic, json.loads(one.payload), one.retain)
        )
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(topic, qos=1)
        self._client.loop_start()
        assert ready.wait(10)

    def wait(self, wanted):
        until = time.monotonic() + 10
        while not wanted(self.came) and time.monotonic() < until:
            time.sleep(0.02)
        return self.came

    def expect(self, state):
        """A state, as the last one that came; brokers may say one twice."""
        assert self.wait(lambda came: came and came[-1][1] == state)[-1][1] == state

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.slow
def test_a_broker_gets_every_verdict_and_keeps_the_state(broker):
    port = free_port()
    with broker(port):
        early = Listener(port, "plant/line 3/verdict")
        sink = sink_of(f"mqtt://127.0.0.1:{port}/plant/line 3")
        sink.idle()
        there = Listener(port, "plant/line 3/state")
        there.expect({"status": "online", "last": None})
        there.close()
        sink.deliver(message("1", "defect"))
        sink.deliver(message("2", "ok"))
        assert [one["id"] for _, one, _ in early.wait(lambda came: len(came) == 2)] == ["1", "2"]
        late = Listener(port, "plant/line 3/state")
        late.expect({"status": "online", "last": message("2", "ok")})
        assert late.came[0][2]  # retained: it was sent before anybody listened
        sink.close()
        late.expect({"status": "offline"})
        early.close()
        late.close()


@pytest.mark.slow
def test_a_broker_that_goes_is_down_and_found_again(broker):
    port = free_port()
    sink = sink_of(f"mqtt://127.0.0.1:{port}/line")
    with pytest.raises(SinkDown, match="no broker"):
        sink.deliver(message("1"))
    with broker(port):
        sink.deliver(message("1"))
    with pytest.raises(SinkDown):
        sink.deliver(message("2"))
    with broker(port):
        sink.deliver(message("2"))
        sink.close()


# Modbus ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_device_gets_a_coil_and_a_register():
    pytest.importorskip("pymodbus")
    from pymodbus.client import ModbusTcpClient

    port = free_port()
    sink = sink_of(f"modbus://127.0.0.1:{port}/1#coil=3&register=5&counter=6")
    with pytest.raises(SinkDown):
        sink.deliver(message())
    with modbus_device(port):
        reader = ModbusTcpClient("127.0.0.1", port=port)
        assert reader.connect()
        for count, (verdict, reject, code) in enumerate(
            [
                ("defect", True, 2),
                ("ok", False, 1),
                ("unfit", True, 3),
                ("unreadable", True, 4),
                ("failed", True, 4),
            ],
            1,
        ):
            sink.deliver(message(verdict=verdict))
            assert reader.read_coils(3, count=1).bits[0] is reject
            assert reader.read_holding_registers(5, count=2).registers == [code, count]
        assert reader.read_coils(2, count=1).bits[0] is False
        sink.close()
        sink = sink_of(f"modbus://127.0.0.1:{port}/1#coil=3&register=5&counter=6")  # after a restart
        sink.deliver(message(verdict="failed"))
        assert reader.read_holding_registers(5, count=2).registers == [4, 6]  # it goes on, so it is seen
        reader.close()
    with pytest.raises(SinkDown):
        sink.deliver(message())
    with modbus_device(port):  # switched on again, with a counter of its own
        sink.deliver(message(verdict="ok"))
        reader = ModbusTcpClient("127.0.0.1", port=port)
        assert reader.connect()
        assert reader.read_holding_registers(5, count=2).registers == [1, 1]
        reader.close()
        with pytest.raises(SinkRefused, match="refused"):
            post_to(f"modbus://127.0.0.1:{port}/1#coil=500")
        sink.close()


# Addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, reason",
    [
        ("ftp://host/x", "expected a sink of"),
        ("csv:", "no file"),
        ("https:///path", "expected https"),
        ("mqtt:///topic", "expected mqtt"),
        ("mqtt://host/a/+/b", r"\+"),
        ("mqtt://host:port/a", "cannot read the sink"),
        ("modbus://host#coil=-1", "coil from 0"),
        ("modbus://host#coils=1", "coil, register or counter"),
        ("modbus://host/300", "unit from 0"),
        ("https://host/#secret-file=nowhere", "cannot be read"),
    ],
)
def test_addresses_that_are_none_are_said_at_once(url, reason):
    with pytest.raises(SteerAnomalyError, match=reason):
        sink_of(url)


def test_passwords_are_not_shown():
    assert without_password("mqtt://me:secret@host:1/t") == "mqtt://me@host:1/t"
    assert without_password("csv:a@b:c") == "csv:a@b:c"


def test_a_missing_package_is_one_sentence(monkeypatch):
    from anomaly.line import outbox

    monkeypatch.setattr(outbox, "find_spec", lambda name: None)
    with pytest.raises(SteerAnomalyError, match=r"pip install 'steer-anomaly\[line\]'"):
        sink_of("mqtt://host/t")
    assert sink_of(f"csv:{Path('x.csv')}")
