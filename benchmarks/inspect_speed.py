"""How fast an inspection is: its start, each step of an image, a folder, and an image beside a busy core.

    python benchmarks/inspect_speed.py --base ../base --repeat 9

With `--base PATH` every measurement is made with that checkout too, by turns in the same run, so that whatever else
the machine does meets both. Pictures are drawn, seeded. Each figure is the median of `--repeat` measurements, each in
a process of its own; CPU seconds are of all its threads. Works with checkouts from before the tree of packages.
(Not called inspect.py: for every script beside it Python would take that for its own module `inspect`.)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PART = "plate"
WARM, TIMED = 2, 5  # images before the clock starts, and while it runs


def main() -> None:
    """Draw the pictures, measure by turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, help="another checkout to compare with")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--images", type=int, default=100, help="photographs of about 1 MP in the folder")
    parser.add_argument("--only", choices=sorted(MEASUREMENTS), action="append", help="leave out the others")
    parser.add_argument("--worker", choices=["steps"], help=argparse.SUPPRESS)
    parser.add_argument("--picture", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(steps(Path(options.picture))))
        return
    checkouts = {"now": HERE} | ({"base": options.base.resolve()} if options.base else {})
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder)
        draw(pictures / "one" / "one.png", 512, 512, 0)
        for i in range(options.images):
            draw(pictures / "many" / f"{i:03}.jpg", 864, 1152, i)
        for name in options.only or MEASUREMENTS:
            found: dict[str, list[dict[str, float]]] = {which: [] for which in checkouts}
            for _ in range(options.repeat):
                for which, path in checkouts.items():
                    found[which].append(MEASUREMENTS[name](path, pictures))
            show(name, found)


def show(name: str, found: dict[str, list[dict[str, float]]]) -> None:
    """One line per figure: its median with each checkout, and how many times less it is now."""
    for figure in found["now"][0]:
        medians = {which: statistics.median(one[figure] for one in all_) for which, all_ in found.items()}
        line = "   ".join(f"{which} {value:8.3f}" for which, value in medians.items())
        if "base" in medians and medians["now"]:
            faster = medians["base"] / medians["now"]
            line += f"   {1 / faster if figure.endswith('images/s') else faster:5.2f} times as fast"
        print(f"{name:7} {figure:24} {line}", flush=True)


def start(checkout: Path, pictures: Path) -> dict[str, float]:
    """Seconds from the start of the command to the first image in the journal, and to its end."""
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        process = command(checkout, [pictures / "one"], Path(out))
        journal = Path(out) / "results.jsonl"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.002)
        first = time.perf_counter() - began
        finish(process)
        return {"s to the first image": first, "s to the end": time.perf_counter() - began}


def folder(checkout: Path, pictures: Path) -> dict[str, float]:
    """Images per second of the whole command over the folder, everything written, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as out:
        before, began = os.times(), time.perf_counter()
        finish(command(checkout, [pictures / "many"], Path(out)))
        seconds, after = time.perf_counter() - began, os.times()
        count = len(list((pictures / "many").iterdir()))
        size = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    cpu = sum(after[2:4]) - sum(before[2:4])  # user and system, of finished children
    return {"images/s": count / seconds, "CPU s per image": cpu / count, "MB per image": size / count / 1e6}


def image(checkout: Path, pictures: Path) -> dict[str, float]:
    """Seconds per step of a warm image, in a process of its own."""
    small = worker(checkout, pictures / "one" / "one.png")
    large = worker(checkout, pictures / "many" / "000.jpg")
    return {f"s to {k}, 512 px": v for k, v in small.items()} | {
        f"s to {k}, 1 MP": v for k, v in large.items()
    }


def busy(checkout: Path, pictures: Path) -> dict[str, float]:
    """Seconds to inspect a warm 512 px image while another process keeps one core busy."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return {"s to inspect, 512 px": worker(checkout, pictures / "one" / "one.png")["inspect"]}
    finally:
        spinning.kill()
        spinning.wait()


MEASUREMENTS = {"start": start, "image": image, "folder": folder, "busy": busy}


def steps(picture: Path) -> dict[str, float]:
    """Run by `worker`: median seconds to read, inspect and write one picture, warm."""
    from anomaly.inspector import Inspector

    try:
        from anomaly.pictures.images import read_image
        from anomaly.runs.folder import ResultFolder
    except ModuleNotFoundError:  # the tree before packages
        from anomaly.images import read_image
        from anomaly.output import ResultFolder

    inspector = Inspector()
    inspector.prepare(PART)
    found: dict[str, list[float]] = {"read": [], "inspect": [], "write": []}
    with tempfile.TemporaryDirectory() as out, ResultFolder(out, {"object": PART}) as results:
        for i in range(WARM + TIMED):
            times = [time.perf_counter()]
            pixels = read_image(picture)
            times.append(time.perf_counter())
            inspection = inspector.inspect(pixels, PART)
            times.append(time.perf_counter())
            results.write(f"{i}", picture, pixels, inspection)
            times.append(time.perf_counter())
            for name, begin, end in zip(found, times, times[1:], strict=False):
                found[name].append(end - begin)
    return {name: statistics.median(all_[WARM:]) for name, all_ in found.items()}


def worker(checkout: Path, picture: Path) -> dict[str, float]:
    """`steps` with the code of `checkout`."""
    arguments = [sys.executable, __file__, "--worker", "steps", "--picture", str(picture)]
    done = subprocess.run(arguments, env=environment(checkout), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def command(checkout: Path, inputs: list[Path], out: Path) -> subprocess.Popen:
    """`steer-anomaly inspect` with the code of `checkout`, begun."""
    arguments = [sys.executable, "-m", "anomaly.cli", "inspect", *map(str, inputs)]
    arguments += ["--object", PART, "--out", str(out), "--quiet"]
    if "--mutual" in (checkout / "anomaly" / "commands" / "options.py").read_text(encoding="utf-8"):
        arguments += ["--mutual", "off"]  # each picture alone, as the other checkout does it
    return subprocess.Popen(
        arguments, cwd=out, env=environment(checkout), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen) -> None:
    """Wait for a command; any failure ends the benchmark with what it said."""
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(said.decode())


def environment(checkout: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout)}


def draw(path: Path, height: int, width: int, seed: int) -> None:
    """A cloudy, noisy plate; every other one with a dark scratch."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    clouds = cv2.resize(rng.normal(0, 25, (24, 32, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    plate = (120 + clouds + rng.normal(0, 6, (height, width, 3))).clip(0, 255).astype(np.uint8)
    if seed % 2:
        cv2.line(plate, (width // 4, height // 3), (width // 2, height // 2), (20, 20, 20), 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), plate)


if __name__ == "__main__":
    main()
