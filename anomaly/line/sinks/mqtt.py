"""`mqtt://[USER@]HOST[:PORT]/TOPIC` (`mqtts://` with TLS): JSON, QoS 1.

`TOPIC/verdict` has every message; `TOPIC/state`, retained, the last one and whether we are `online`, which the broker
turns to `offline` by itself when we vanish.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from anomaly.errors import SteerAnomalyError
from anomaly.line.sinks.delivery import SinkDown, login_of, split, without_password

if TYPE_CHECKING:
    from paho.mqtt.client import Client

TIMEOUT = 5.0  # s, for the broker to take a connection or a message
KEEP_ALIVE = 15  # s; the broker says `offline` after one and a half times as long
TOPIC = "steer-anomaly"


class MqttSink:
    """One connection, made when it is needed and again after it was lost. Nothing is queued here."""

    newest_only = False

    def __init__(self, url: str) -> None:
        parts, settings = split(url)
        if not parts.hostname:
            raise SteerAnomalyError(f"expected mqtt://HOST/TOPIC, got {without_password(url)}")
        self._topic = parts.path.strip("/") or TOPIC
        if {"+", "#"} & set(self._topic):
            raise SteerAnomalyError(f"expected a topic to publish to, {self._topic!r} has a + or #")
        self._tls = parts.scheme == "mqtts"
        self._host, self._port = parts.hostname, parts.port or (8883 if self._tls else 1883)
        self._login = login_of(parts, settings)
        self._name = f"steer-anomaly-{uuid4().hex[:12]}"
        self._client: Client | None = None
        self._last: dict[str, Any] | None = None

    def deliver(self, message: dict[str, Any]) -> None:
        """Publish it and wait until the broker has it. Raises `SinkDown`."""
        if not self._is_connected():
            self._connect()
        try:
            self._publish("verdict", message)
            self._last = message
            self._publish_state()
        except (ValueError, RuntimeError, OSError) as error:
            self._let_go()
            raise SinkDown(f"lost the broker ({error})") from error

    def idle(self) -> None:
        """Connect when we are not, and say that we are there."""
        if self._is_connected():
            return
        self._connect()
        try:
            self._publish_state()
        except (ValueError, RuntimeError, OSError) as error:
            self._let_go()
            raise SinkDown(f"lost the broker ({error})") from error

    def close(self) -> None:
        """Say that we leave."""
        if self._is_connected():
            with suppress(ValueError, RuntimeError, OSError):  # the broker says it for us
                self._publish("state", {"status": "offline"}, retain=True)
        self._let_go()

    def _is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected()

    def _publish_state(self) -> None:
        self._publish("state", {"status": "online", "last": self._last}, retain=True)

    def _publish(self, topic: str, content: dict[str, Any], retain: bool = False) -> None:
        assert self._client is not None
        data = json.dumps(content, ensure_ascii=False, allow_nan=False)
        sent = self._client.publish(f"{self._topic}/{topic}", data, qos=1, retain=retain)
        sent.wait_for_publish(TIMEOUT)
        if not sent.is_published():
            raise OSError("the broker did not take the message in time")

    def _connect(self) -> None:
        from paho.mqtt.client import CallbackAPIVersion, Client

        self._let_go()
        answered, reason = threading.Event(), []
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._name, reconnect_on_failure=False)
        client.connect_timeout = TIMEOUT

        def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            reason.append(code)
            answered.set()

        client.on_connect = on_connect
        client.will_set(f"{self._topic}/state", json.dumps({"status": "offline"}), qos=1, retain=True)
        if self._tls:
            client.tls_set()
        if self._login[0]:
            client.username_pw_set(*self._login)
        try:
            client.connect(self._host, self._port, KEEP_ALIVE)
        except (OSError, ValueError) as error:
            raise SinkDown(f"no broker at {self._host}:{self._port} ({error})") from error
        client.loop_start()
        self._client = client
        if not answered.wait(TIMEOUT) or reason[0].is_failure:
            self._let_go()
            raise SinkDown(f"the broker at {self._host} said: {reason[0] if reason else 'nothing'}")

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
