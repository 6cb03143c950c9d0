"""Whether the memory of `steer-anomaly archive` stays flat: the samples repeated under new names, reading included.

    python benchmarks/archive_memory.py --images 20000 --workers 2 --minutes 90
    python benchmarks/archive_memory.py --images 20000 --without-model

Prints the memory of the driver and its workers together (PSS: what is shared counts once) at every 5 % of the images,
how much the last fifth has over the second, and the growth per 1,000 images: the slope of a line through all that was
seen after the first fifth. Linux only. `--minutes` ends it early and says how far it came.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
EVERY = 5.0  # seconds


def main() -> None:
    """Make the archive, run the command, watch it, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--without-model", action="store_true", help="all but the model: judged by brightness"
    )
    parser.add_argument("--minutes", type=float, default=90)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        repeat(folder / "img", options.images)
        command = command_of(folder, options.workers, options.without_model)
        process = subprocess.Popen(command, cwd=HERE)
        try:
            watched(process, folder / "table", options.images, options.minutes * 60)
        finally:
            process.terminate()
            process.wait()


def command_of(folder: Path, workers: int, without_model: bool) -> list[str]:
    """The command that is watched; without a model it has two workers."""
    images, table = str(folder / "img"), str(folder / "table")
    if without_model:
        script = Path(__file__).with_name("archive_kills.py")
        return [sys.executable, str(script), "--drive", images, table, "local", "quick"]
    command = [sys.executable, "-m", "anomaly.cli", "archive", images, "--object", "part", "--quiet"]
    return [*command, "--out", table, "--workers", str(workers)]


def repeat(folder: Path, images: int) -> None:
    """The samples of this repository under new names, in folders of a thousand; files of their own."""
    samples = sorted((HERE / "docs" / "samples").rglob("*.jpg"))
    for number, sample in zip(range(images), itertools.cycle(samples), strict=False):
        path = folder / f"{number // 1000:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample, path)


def watched(process: subprocess.Popen, table: Path, images: int, seconds: float) -> None:
    """Print memory by images done until the run or the time is over."""
    began, seen, told = time.monotonic(), [], -1
    while process.poll() is None and time.monotonic() - began < seconds:
        time.sleep(EVERY)
        done, memory = len(list((table / "images").rglob("*.parquet"))), sum(map(pss, tree(process.pid)))
        seen.append((done, memory))
        shards = -(-images // rows_of_a_shard(table, images))
        if done * 20 // shards > told and memory:
            told = done * 20 // shards
            seconds_in = time.monotonic() - began
            print(
                f"{done * images // shards:7} images {memory / 1e6:7.0f} MB {seconds_in:6.0f} s", flush=True
            )
    minutes = (time.monotonic() - began) / 60
    rows = rows_of_a_shard(table, images)
    # Not while it begins, nor while it ends.
    seen = [(done, memory) for done, memory in seen if 0 < done * rows < images and memory]
    last = len(list((table / "images").rglob("*.parquet"))) * rows
    known = [memory for _, memory in seen]
    if len(known) < 5:
        raise SystemExit(f"too few figures; exit code {process.poll()}")
    fifth = max(1, len(known) // 5)
    early, late = statistics.median(known[fifth : 2 * fifth]), statistics.median(known[-fifth:])
    print(
        f"{min(last, images)} of {images} images in {minutes:.0f} min; exit code {process.poll()} (None: ended early)"
    )
    grown = late / early - 1
    print(f"second fifth {early / 1e6:.0f} MB, last fifth {late / 1e6:.0f} MB: {grown:+.1%}")
    later = [(done * rows / 1000, memory / 1e6) for done, memory in seen[fifth:]]
    if len({thousands for thousands, _ in later}) > 1:
        print(f"growth {slope(later):+.2f} MB per 1,000 images")


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line through the points with the least squares."""
    x, y = zip(*points, strict=True)
    return statistics.linear_regression(x, y).slope


def rows_of_a_shard(table: Path, images: int) -> int:
    """Images in a file of the table."""
    from anomaly.archive.manifest import shard_rows

    return shard_rows(images)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            todo += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def pss(pid: int) -> int:
    """Bytes of memory of a process; what it shares with others counts in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
