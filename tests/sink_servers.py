"""Real servers for sinks to talk to: HTTP, MQTT (in Python, or mosquitto), Modbus. Each a context manager."""

import asyncio
import contextlib
import socket
import subprocess
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def receiver(statuses, port=0):
    """An HTTP server that answers with `statuses` in turn, the last one for ever; gives its URL and what came."""
    came, left = [], list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append((dict(self.headers), body))
            status, *headers = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def running(begin, end):
    """What `begin` (a coroutine function) starts, on an event loop in a thread, until `end` (of what it gave)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        started = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        try:
            yield started
        finally:
            asyncio.run_coroutine_threadsafe(end(started), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def amqtt_broker(port):
    """The MQTT broker of the package amqtt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from amqtt.broker import Broker

        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }

        async def begin():
            broker = Broker(config)
            await broker.start()
            return broker

        with running(begin, lambda broker: broker.shutdown()):
            yield


@contextlib.contextmanager
def mosquitto_broker(port, folder, program):
    """The MQTT broker of the system."""
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def modbus_device(port):
    """A device with the unit number 1, 16 coils and 16 holding registers."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
    words = [SimData(0, count=16, values=0, datatype=DataType.REGISTERS)]

    async def begin():
        server = ModbusTcpServer(SimDevice(1, (bits, bits, words, words)), address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        return server

    with running(begin, lambda server: server.shutdown()):
        yield
