"""Real servers for sinks to talk to: HTTP, MQTT (in Python, or mosquitto), Modbus. Each a context manager."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


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


AMQTT = """
import asyncio, sys
from amqtt.broker import Broker

async def run(port):
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    await Broker({"listeners": listeners, "plugins": plugins}).start()
    await asyncio.Event().wait()

asyncio.run(run(sys.argv[1]))
"""


def amqtt_broker(port, folder):
    """The MQTT broker of the package amqtt."""
    return process_at(port, [sys.executable, "-W", "ignore", "-c", AMQTT, str(port)])


def mosquitto_broker(port, folder):
    """The MQTT broker of the system."""
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    return process_at(port, [MOSQUITTO, "-c", settings])


@contextlib.contextmanager
def process_at(port, command):
    """A process, from when it listens at a port on."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        process.kill()
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
