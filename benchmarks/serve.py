"""Measures `steer-anomaly serve`: latency against inference alone, eight clients against one, load, memory, mix-ups.

    python benchmarks/serve.py [--load-minutes 5] [--out serve.json]

Alone and served pictures alternate, so that a busy machine slows both; figures are ratios of the same run. An answer
is wrong when it has another picture's name or score, or the service's file does not say the same of its part after all.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIDE, PICTURES = 1024, 24
SAME = 1e-5  # of a score, between numbers of threads
KIND = {"Content-Type": "image/jpeg"}


def drawn(seed: int) -> bytes:
    """A 1 MP JPEG of a part, each another one."""
    random = np.random.default_rng(seed)
    files = sorted((ROOT / "docs" / "samples" / "flanges" / "good").glob("*.jpg"))
    image = cv2.resize(cv2.imread(str(files[seed % len(files)])), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


class Server:
    """The service as a process of its own; `first` is the time from its start to the first verdict, s."""

    def __init__(self, profiles: Path, picture: bytes) -> None:
        command = [sys.executable, "-m", "anomaly.cli", "serve", "--profiles", str(profiles), "--port", "0"]
        began = time.perf_counter()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        found = re.search(r":(\d+)/", self.process.stdout.readline())
        assert found is not None
        self.port = int(found.group(1))
        self.client = Client(self.port)
        self.client.ask(picture)
        self.first = time.perf_counter() - began

    def megabytes(self) -> float:
        """Its memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024  # type: ignore[union-attr]

    def stop(self) -> None:
        """Politely."""
        self.process.terminate()
        self.process.wait(60)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, picture: bytes, name: str = "picture") -> dict:
        """The answer; asks again while the queue is full."""
        while True:
            try:
                self._connection.request("POST", f"/v1/inspect?profile=flange&name={name}", picture, KIND)
                answer = self._connection.getresponse()
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                self._connection.close()  # it lay idle for too long
                continue
            content = json.loads(answer.read())
            if answer.status == 200:
                return content
            if answer.status != 429:
                raise RuntimeError(content)
            time.sleep(0.2)


def inspector(profiles: Path):
    """As the service has it, in this process."""
    from anomaly import threads
    from anomaly.decision import profile_file
    from anomaly.inspector import Inspector

    threads.use(None)
    profile = profile_file.load(profiles / "flange.profile")
    made = Inspector.from_profile(profile)
    made.prepare(profile.object)
    return made, profile.object


def latency(server: Server, alone, part: str, pictures: list[bytes], rounds: int) -> dict[str, float]:
    """One client: a picture alone in this process, then the same one served, in turns."""
    images = [
        cv2.cvtColor(cv2.imdecode(np.frombuffer(one, np.uint8), 1), cv2.COLOR_BGR2RGB) for one in pictures
    ]
    inference, served = [], []
    for turn in range(rounds):
        place = turn % len(pictures)
        began = time.perf_counter()
        alone.inspect(images[place], part)
        middle = time.perf_counter()
        server.client.ask(pictures[place])
        inference.append(middle - began)
        served.append(time.perf_counter() - middle)
    ratios = [one / other for one, other in zip(served, inference, strict=True)]
    return {
        "inference_ms": 1000 * median(inference), "served_ms": 1000 * median(served),
        "median_ratio": median(served) / median(inference), "median_of_ratios": median(ratios),
        "p99_ratio": float(np.percentile(served, 99)) / median(inference),
        "alone_p99_ratio": float(np.percentile(inference, 99)) / median(inference),
    }  # fmt: skip


class Checked:
    """What every picture scores, and how many answers were not those of their own picture."""

    def __init__(self, server: Server, pictures: list[bytes]) -> None:
        self.scores = [server.client.ask(one)["score"] for one in pictures]
        ascending = sorted(self.scores)
        gap = min(after / before for before, after in pairwise(ascending)) - 1
        assert gap > 2 * SAME, f"two pictures score within {gap:g} of each other"
        self.answers: list[tuple[int, int, float]] = []
        self.wrong, self.furthest = 0, 0.0

    def take(self, place: int, answer: dict) -> None:
        """The answer to the picture at `place`; from any thread."""
        far = abs(answer["score"] / self.scores[place] - 1)
        self.furthest = max(self.furthest, far)
        self.wrong += far > SAME or answer["name"] != f"picture-{place}"
        self.answers.append((answer["id"], place, answer["score"]))

    def lost(self, store: Path) -> int:
        """How many answers the service's file does not have, or has otherwise."""
        with sqlite3.connect(store) as connection:
            kept = {id: found for id, *found in connection.execute("SELECT id, name, score FROM parts")}
        told = {id: [f"picture-{place}", score] for id, place, score in self.answers}
        return len(self.answers) - sum(kept.get(id) == found for id, found in told.items())


def rate(
    port: int, pictures: list[bytes], checked: Checked, clients: int, seconds: float
) -> dict[str, float]:
    """Pictures per second of several clients at once."""
    counts, until = [0] * clients, time.perf_counter() + seconds

    def one(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < until:
            place = turn % len(pictures)
            checked.take(place, client.ask(pictures[place], f"picture-{place}"))
            counts[number] += 1
            turn += 1

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"per_second": sum(counts) / (time.perf_counter() - began), "answers": sum(counts)}


def throughput(server: Server, pictures: list[bytes], checked: Checked, seconds: float) -> dict[str, float]:
    """One client and eight, in turns of some seconds."""
    found: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(4):
        for clients in found:
            found[clients].append(rate(server.port, pictures, checked, clients, seconds)["per_second"])
    return {
        "one_per_second": median(found[1]), "eight_per_second": median(found[8]),
        "ratio": median(found[8]) / median(found[1]), "wrong": checked.wrong,
    }  # fmt: skip


def load(server: Server, pictures: list[bytes], checked: Checked, minutes: float) -> dict[str, float]:
    """32 clients; memory of the service after the first tenth and at the end."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            seen.append(server.megabytes())

    watching = threading.Thread(target=watch)
    watching.start()
    found = rate(server.port, pictures, checked, 32, 60 * minutes)
    done.set()
    watching.join()
    early = seen[len(seen) // 10 : len(seen) // 5] or seen
    memory = {"early_mb": median(early), "late_mb": median(seen[-len(early) :]), "most_mb": max(seen)}
    return found | memory | {"wrong": checked.wrong, "furthest": checked.furthest}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100, help="pictures for the latency")
    parser.add_argument("--seconds", type=float, default=8, help="of each turn of the throughput")
    parser.add_argument("--load-minutes", type=float, default=0.5, help="with 32 clients")
    parser.add_argument("--out", type=Path, help="figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        profiles = Path(folder)
        pictures = [drawn(seed) for seed in range(PICTURES)]
        good = profiles / "good"
        good.mkdir()
        for seed in range(30):
            (good / f"{seed}.jpg").write_bytes(drawn(1000 + seed))
        calibrate = [
            "calibrate",
            "--object",
            "flange",
            "--quiet",
            "--out",
            str(profiles / "flange.profile"),
            str(good),
        ]
        subprocess.run(
            [sys.executable, "-m", "anomaly.cli", *calibrate, "--references", "10"], cwd=ROOT, check=True
        )
        figures: dict[str, object] = {}
        server = Server(profiles, pictures[0])
        try:
            figures["first_verdict_s"] = server.first
            alone, part = inspector(profiles)
            checked = Checked(server, pictures)
            for name, measure in (
                ("latency", lambda: latency(server, alone, part, pictures, given.rounds)),
                ("throughput", lambda: throughput(server, pictures, checked, given.seconds)),
                ("load", lambda: load(server, pictures, checked, given.load_minutes)),
            ):
                figures[name] = measure()
                print(name, json.dumps(figures[name]), flush=True)
        finally:
            server.stop()
        figures["answers"] = len(checked.answers)
        figures["lost"] = checked.lost(profiles / "line" / "line.sqlite")
        print(json.dumps(figures, indent=2))
        if given.out:
            given.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
