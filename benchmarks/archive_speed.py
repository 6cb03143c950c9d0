"""Images a second of an archive's engines, with nano, beside inference alone in as many processes.

    python benchmarks/archive_speed.py --images 256 --repeat 5
    python benchmarks/archive_speed.py --images 256 --repeat 3 --ray

"Alone": forked processes with the model of their parent, each inspects its part of the pictures from memory; nothing is
read, made into rows or written. "Local" and "ray" read the files and write the table. All are timed from the first word
of progress to the last, so that starting is in none, by turns in one run; each ratio is that of a turn, and the median
of the turns is printed with the extremes. CPU seconds of an image, of all processes, are less moved by whatever else
the machine does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "benchmarks")]

from archive_memory import repeat, tree  # noqa: E402

PART = "part"


def main() -> None:
    """Measure by turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    inspector = Inspector()
    examiner_of(lambda: inspector, PART)  # prepares it, for one thread
    rates: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        repeat(folder / "img", options.images)
        ways = {"alone": partial(alone, inspector), "local": local}
        if options.ray:
            ways["ray"] = on_ray
        for turn in range(options.repeat):
            for name, way in ways.items():
                a_second, seconds = way(folder, turn, options.workers)
                rates.setdefault(name, []).append(a_second)
                cpu.setdefault(name, []).append(seconds)
                print(
                    f"turn {turn} {name:6} {a_second:6.2f} images/s {seconds:.4f} CPU s an image",
                    flush=True,
                )
    for name, base in (("local", "alone"), ("ray", "local")):
        if name in rates:
            ratios = sorted(one / other for one, other in zip(rates[name], rates[base], strict=True))
            print(
                f"{name} / {base}: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) in images/s"
            )
            shares = sorted(one / other for one, other in zip(cpu[base], cpu[name], strict=True))
            print(
                f"  by CPU of an image: {statistics.median(shares):.3f} ({shares[0]:.3f} to {shares[-1]:.3f})"
            )


def used() -> float:
    """CPU seconds of this process and all below it that live."""
    ticks = 0
    for one in tree(os.getpid()):
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def alone(inspector: Any, folder: Path, turn: int, workers: int) -> tuple[float, float]:
    """Images/s of inference alone, and CPU seconds of an image."""
    from anomaly.pictures.images import read_image

    images = [read_image(path) for path in sorted((folder / "img").rglob("*.jpg"))]
    context = multiprocessing.get_context("fork")
    told, spent = context.Array("d", len(images)), context.Array("d", workers)

    def work(first: int) -> None:
        before = time.process_time()
        for i in range(first, len(images), workers):
            inspector.inspect(images[i], PART)
            told[i] = time.monotonic()
        spent[first] = time.process_time() - before

    processes = [context.Process(target=work, args=(first,)) for first in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    moments = sorted(told)
    return (len(images) - 1) / (moments[-1] - moments[0]), sum(spent) / len(images)


def local(folder: Path, turn: int, workers: int) -> tuple[float, float]:
    """The same of the local engine."""
    from anomaly.archive import local_engine
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    place, manifest = listed(folder, f"local{turn}")
    seen: list[tuple[float, int, float]] = []
    make = partial(examiner_of, Inspector, PART)
    local_engine.run(place, manifest, make, workers, tell=partial(note, seen))
    return rate(seen)


def on_ray(folder: Path, turn: int, workers: int) -> tuple[float, float]:
    """The same of the Ray engine on a cluster of its own."""
    from anomaly.archive import ray_engine
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    place, manifest = listed(folder, f"ray{turn}")
    seen: list[tuple[float, int, float]] = []
    make = partial(examiner_of, Inspector, PART)
    ray_engine.run(place, manifest, make, workers, None, tell=partial(note, seen))
    return rate(seen)


def listed(folder: Path, name: str) -> Any:
    """A place for a table, and the list of the pictures."""
    from anomaly.archive.entries import entries_of
    from anomaly.archive.manifest import write_manifest
    from anomaly.archive.places import Place

    place, inputs = Place(str(folder / name)), (str(folder / "img"),)
    return place, write_manifest(place, entries_of(inputs), inputs, True)


def note(seen: list[tuple[float, int, float]], progress: Any) -> None:
    """Keep when how many images were done, and what they took."""
    if progress.done and (not seen or seen[-1][1] != progress.done):
        seen.append((time.monotonic(), progress.done, used()))


def rate(seen: list[tuple[float, int, float]]) -> tuple[float, float]:
    """From the first word to the last."""
    (began, first, before), (ended, last, after) = seen[0], seen[-1]
    return (last - first) / (ended - began), (after - before) / (last - first)


if __name__ == "__main__":
    main()
