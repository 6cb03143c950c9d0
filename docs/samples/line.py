"""A line on this computer: calibrates on the good sample flanges, serves, posts the others, until Ctrl-C.

    python docs/samples/line.py

Run by `make demo-line`. Writes below `demo-out/line` and looks for a free port from 8000 on.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

FLANGES = Path(__file__).parent / "flanges"
TOOL = [sys.executable, "-m", "anomaly.cli"]
BOUNDARY = "steer-anomaly-demo"


def main() -> None:
    """Calibrate, serve, post, wait."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out/line"))
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between parts")
    parser.add_argument("--once", action="store_true", help="end when all are posted")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    profile = options.out / "profiles" / "flange.profile"
    if not profile.exists():
        profile.parent.mkdir(parents=True, exist_ok=True)
        calibrate = [
            "calibrate",
            FLANGES / "good",
            "--object",
            "flange",
            "--false-alarms",
            "10%",
            "--out",
            profile,
        ]
        subprocess.run([*TOOL, *map(str, calibrate)], check=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    # A session of its own: Ctrl-C reaches us, and we end the service.
    service = subprocess.Popen(
        [*TOOL, "serve", "--profiles", str(profile.parent), "--port", str(port)], start_new_session=True
    )
    try:
        wait_until_ready(address, service)
        print(f"\nThe page: {address}\n", flush=True)
        post_all(address, options.pause)
        print(f"\nAll are posted. The page stays at {address}; Ctrl-C ends.", flush=True)
        if not options.once:
            service.wait()
    except KeyboardInterrupt:
        pass
    finally:
        service.send_signal(signal.SIGTERM)
        code = service.wait(60)
    print("ended" if code == 0 else f"the service ended with {code}")
    sys.exit(code)


def free_port() -> int:
    """8000, or the next that is free."""
    for port in range(8000, 8100):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port
    sys.exit("expected a free port between 8000 and 8099, found none")


def wait_until_ready(address: str, service: subprocess.Popen[bytes]) -> None:
    """Until the service can judge; ends when it ends."""
    while True:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if service.poll() is not None:
                sys.exit(service.returncode or 1)
            time.sleep(0.1)


def post_all(address: str, pause: float) -> None:
    """Post the flanges that are not good for calibration, good and defective ones by turns."""
    good, others = (sorted((FLANGES / "test").glob(f"{which}*.jpg")) for which in ("good-", "[!g]"))
    for path in [one for pair in zip(good, others, strict=False) for one in pair] + good[len(others) :]:
        answer = post(address, path)
        print(f"{path.name:<20} {answer['verdict']:<8} score {answer['score']:.2f}", flush=True)
        time.sleep(pause)


def post(address: str, path: Path) -> dict:
    """One picture to `POST /v1/inspect`; the verdict."""
    body = b"".join(
        [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="profile"\r\n\r\nflange\r\n'.encode(),
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{path.name}"\r\n'.encode(),
            b"Content-Type: image/jpeg\r\n\r\n" + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode(),
        ]
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}/v1/inspect", body, kind), timeout=60
    ) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
