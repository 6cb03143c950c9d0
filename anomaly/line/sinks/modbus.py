"""`modbus://HOST[:PORT][/UNIT]#coil=0&register=0`: the last verdict for a PLC, over Modbus TCP.

The coil is on for every part that is not ok. The holding register has the verdict: 1 ok, 2 defect, 3 unfit, 4 not
judged. With `counter=N` register N counts verdicts, modulo 65536, and changes last, so two alike can be told apart; it
goes on from what the device has, also after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomaly.errors import SteerAnomalyError
from anomaly.line.sinks.delivery import SinkDown, SinkRefused, number_in, split

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

TIMEOUT = 3.0  # s
CODES = {"ok": 1, "defect": 2, "unfit": 3}
NOT_JUDGED = 4


class ModbusSink:
    """Writes the newest verdict only: a signal for a part that has long passed would throw out another one."""

    newest_only = True

    def __init__(self, url: str) -> None:
        parts, settings = split(url)
        if not parts.hostname:
            raise SteerAnomalyError(f"expected modbus://HOST, got {url}")
        if unknown := set(settings) - {"coil", "register", "counter"}:
            raise SteerAnomalyError(
                f"expected coil, register or counter after #, got {', '.join(sorted(unknown))}"
            )
        self._host, self._port = parts.hostname, parts.port or 502
        self._unit = number_in({"unit": parts.path.strip("/") or "1"}, "unit", 1, 255)
        self._coil, self._register = (number_in(settings, name, 0, 65_535) for name in ("coil", "register"))
        self._counter = number_in(settings, "counter", 0, 65_535) if "counter" in settings else None
        self._client: ModbusTcpClient | None = None

    def deliver(self, message: dict[str, Any]) -> None:
        """Write coil and register, then the counter. Raises `SinkDown`, `SinkRefused` where an address is missing."""
        from pymodbus.exceptions import ModbusException

        verdict = message["verdict"]
        try:
            client = self._connected()
            answers = [client.write_coil(self._coil, verdict != "ok", device_id=self._unit)]
            code = CODES.get(verdict, NOT_JUDGED)
            answers.append(client.write_register(self._register, code, device_id=self._unit))
            if self._counter is not None:
                found = client.read_holding_registers(self._counter, count=1, device_id=self._unit)
                count = 1 if found.isError() else (found.registers[0] + 1) % 65_536
                answers.append(client.write_register(self._counter, count, device_id=self._unit))
        except (ModbusException, OSError) as error:
            self.close()
            raise SinkDown(f"lost {self._host}:{self._port} ({error})") from error
        if refused := [str(answer) for answer in answers if answer.isError()]:
            raise SinkRefused(f"the device refused to write: {refused[0]}")

    def idle(self) -> None:
        """Nobody asks whether we are there."""

    def close(self) -> None:
        """Close the connection; the device keeps the last verdict."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> ModbusTcpClient:
        from pymodbus.client import ModbusTcpClient

        if self._client is None:
            self._client = ModbusTcpClient(self._host, port=self._port, timeout=TIMEOUT, retries=1)
        if not self._client.connected and not self._client.connect():
            self.close()
            raise OSError("no connection")
        return self._client
