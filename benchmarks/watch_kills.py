"""Is a picture lost or judged twice when `watch` is killed again and again, and how soon is there a verdict?

    python benchmarks/watch_kills.py --kills 200
    python benchmarks/watch_kills.py --kills 20 --longest 10 --side 224
    python benchmarks/watch_kills.py --kills 0 --latency 40 --side 1024

Pictures are written in pieces, or moved in, under names that come again, while the process that watches is killed with
SIGKILL at random moments. It judges brightness, so that a start costs no model; with `--side` it is `steer-anomaly
watch` itself, with a profile of the good sample flanges at that side (1024: 1 MP), made first. `--latency N` adds
pictures one by one and measures from the last byte to the verdict's line in the journal. With the same seed the same
pictures come; when a kill hits is up to the machine.
"""

from __future__ import annotations

import argparse
import collections
import csv
import hashlib
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NAMES = 40  # names in use at a time


def main() -> None:
    """Kill, count, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds that a process lives at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--side", type=int, help="nano on flanges of so many pixels; else brightness, without a model"
    )
    parser.add_argument("--latency", type=int, default=0, metavar="N")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        profile, sources = flanges(Path(folder), options.side) if options.side else (None, [])
        if options.kills:
            kills = Path(folder) / "kills"
            print(counted(kills, options.kills, options.seed, options.longest, profile, sources))
        if options.latency:
            print(waited(Path(folder) / "latency", options.latency, profile, sources))


def flanges(folder: Path, side: int) -> tuple[Path, list[Path]]:
    """A profile of the good sample flanges at a side of so many pixels, and the others at that side."""
    for path in sorted((ROOT / "docs" / "samples" / "flanges").glob("*/*.jpg")):
        image = cv2.resize(cv2.imread(str(path)), (side, side), interpolation=cv2.INTER_CUBIC)
        (folder / path.parent.name).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / path.parent.name / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    profile = folder / "flange.profile"
    words = ["--object", "flange", "--false-alarms", "10%", "--out", str(profile), "--quiet"]
    command = [sys.executable, "-m", "anomaly.cli", "calibrate", str(folder / "good"), *words]
    subprocess.run(command, check=True, cwd=ROOT)
    return profile, sorted((folder / "test").glob("*.jpg"))


def counted(
    folder: Path,
    kills: int,
    seed: int,
    longest: float = 4.0,
    profile: Path | None = None,
    sources: list[Path] | None = None,
) -> dict[str, int]:
    """Watch a folder while pictures come, and kill whoever watches; what is true in the end."""
    line = Line(folder, seed, profile, sources or [])
    feeder = threading.Thread(target=line.feed)
    feeder.start()
    for _ in range(kills):
        process = line.start()
        time.sleep(line.random.uniform(0.0, longest))
        process.send_signal(signal.SIGKILL)
        process.wait()
    line.enough.set()
    feeder.join()
    process = line.start()
    until = time.monotonic() + 300
    while line.waiting() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.2)
    time.sleep(1.0)  # for the sink
    process.send_signal(signal.SIGKILL)
    process.wait()
    return line.count() | {"waiting": len(line.waiting()), "kills": kills + 1}


def waited(folder: Path, pictures: int, profile: Path | None, sources: list[Path]) -> dict[str, float]:
    """Seconds from a picture's last byte to its line in the journal, pictures coming one by one."""
    line = Line(folder, 0, profile, sources)
    process = line.start()
    seconds = []
    try:
        for number in range(pictures + 2):
            before = len(line.lines())
            written = line.write(f"part-{number:03}.{line.suffix}", number)
            while len(line.lines()) == before and process.poll() is None:
                time.sleep(0.01)
            seconds.append(time.time() - written)
            time.sleep(random.uniform(0.2, 0.6))
    finally:
        process.terminate()
        process.wait(120)
    seconds = sorted(seconds[2:])  # the first waits for the model
    return {
        "pictures": pictures, "median_s": round(statistics.median(seconds), 3),
        "p90_s": round(seconds[int(0.9 * len(seconds))], 3), "worst_s": round(seconds[-1], 3),
    }  # fmt: skip


class Line:
    """A watched folder, whoever watches it, and the one who writes pictures into it."""

    def __init__(self, folder: Path, seed: int, profile: Path | None, sources: list[Path]) -> None:
        self.folder, self.profile, self.sources = folder, profile, sources
        self.inbox, self.random = folder / "in", random.Random(seed)
        self.inbox.mkdir(parents=True)
        self.enough = threading.Event()
        self.written: list[str] = []  # SHA-256 of every picture
        self.suffix = "jpg" if sources else "png"

    def start(self) -> subprocess.Popen[bytes]:
        """Begin to watch, in a process of its own."""
        command = [sys.executable, __file__, "--worker", str(self.folder)]
        if self.profile:
            command = [
                sys.executable, "-m", "anomaly.cli", "watch", str(self.inbox), "--profile", str(self.profile),
                "--sort", "--out", str(self.folder / "out"),
                "--sink", f"csv:{self.folder / 'sink.csv'}", "--quiet",
            ]  # fmt: skip
        with (self.folder / "said.txt").open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)

    def feed(self) -> None:
        """Write pictures until there are enough, under names that are free again."""
        writer, number = random.Random(self.random.random()), 0
        while not self.enough.is_set():
            name = f"part-{number % NAMES:03}.{self.suffix}"
            if not (self.inbox / name).exists():
                self.write(name, number, writer)
            number += 1
            time.sleep(writer.uniform(0.0, 0.6 if self.profile else 0.2))

    def write(self, name: str, number: int, writer: random.Random | None = None) -> float:
        """Write a picture in pieces, or move it in whole; the time of its last byte."""
        data = self.picture(number)
        self.written.append(hashlib.sha256(data).hexdigest())
        path = self.inbox / name
        if writer is not None and writer.random() < 0.5:
            (self.inbox / f".{name}.part").write_bytes(data)
            (self.inbox / f".{name}.part").rename(path)
            return time.time()
        with path.open("wb", buffering=0) as file:
            for piece in np.array_split(np.frombuffer(data, np.uint8), 4):
                file.write(piece.tobytes())
                time.sleep(writer.uniform(0, 0.1) if writer else 0.02)
        return time.time()

    def picture(self, number: int) -> bytes:
        """A picture that no other is equal to."""
        if self.sources:
            data = self.sources[number % len(self.sources)].read_bytes()
            return data + f"picture {number}".encode()  # decoders stop at the end of the JPEG
        image = np.full((48, 64, 3), 90, np.uint8)
        image[20:30, 20 : 21 + number % 30] = 90 + number % 150
        image[:4, :, 0] = np.frombuffer(f"{number:064}".encode(), np.uint8)
        return cv2.imencode(".png", image)[1].tobytes()

    def waiting(self) -> list[Path]:
        """Pictures that still lie where they were written."""
        return [path for path in self.inbox.glob(f"*.{self.suffix}") if path.is_file()]

    def lines(self) -> list[dict]:
        """The lines of the journal as they were appended."""
        journal = self.folder / "out" / "results.jsonl"
        text = journal.read_bytes() if journal.exists() else b""
        return [json.loads(line) for line in text.split(b"\n")[:-1]]

    def count(self) -> dict[str, int]:
        """How many came, and of how many the journal, the folders and the sink say too little or too much."""
        rows = collections.Counter(line["path"] for line in self.lines())
        files = [path for name in ("ok", "defect", "unfit") for path in (self.inbox / name).rglob("*.*")]
        kept = collections.Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
        with (self.folder / "sink.csv").open(newline="") as file:
            sent = collections.Counter(row["id"] for row in csv.DictReader(file))
        return {
            "pictures": len(self.written),
            "lost": sum(kept[one] == 0 for one in self.written),
            "without_a_row": len({str(path) for path in files} - set(rows)),
            "rows": len(rows),
            "judged_twice": sum(count > 1 for count in rows.values()),
            "unreadable": sum(line["verdict"] in ("unreadable", "failed") for line in self.lines()),
            "in_two_places": sum(count > 1 for count in kept.values()),
            "sent": len(sent),
            "sent_again": sum(sent.values()) - len(sent),
        }


def work(folder: Path) -> None:
    """What `steer-anomaly watch --sort --sink csv:...` does, with an inspector that sees brightness only."""
    from anomaly.line.arrivals import Arrivals
    from anomaly.line.outbox import open_sinks
    from anomaly.line.sorting import Sorter
    from anomaly.line.station import Station
    from anomaly.line.watching import stopping, watch_folder
    from anomaly.runs.folder import ResultFolder

    inbox, out, inspector = folder / "in", folder / "out", Brightness()
    sorter = Sorter(inbox)
    with (
        stopping() as stop,
        ResultFolder(out, {"object": "part", "settings": inspector.describe()}) as results,
        open_sinks([f"csv:{folder / 'sink.csv'}"], out) as sinks,
    ):
        station = Station(results, inspector, "part", inbox, sorter=sorter, sinks=sinks)
        arrivals = Arrivals(inbox, station.has, [out, *sorter.folders], settle=0.15)
        watch_folder(arrivals, station, stop, lambda row: None)


class Brightness:
    """A pixel is as anomalous as it is brighter than the image's median."""

    def describe(self) -> dict:
        """As an inspector."""
        return {"settings_hash": "brightness", "threshold": 60.0}

    def inspect_batch(self, images: list, object: str) -> list:
        """As an inspector."""
        from anomaly.inspection import Inspection

        found = []
        for image in images:
            grey = image.mean(axis=2, dtype=np.float32)
            heatmap = grey - np.median(grey)
            score = float(heatmap.max())
            found.append(
                Inspection(score, score >= 60, heatmap, heatmap >= 60, (), 60.0, object, "brightness")
            )
        return found


if __name__ == "__main__":
    main()
