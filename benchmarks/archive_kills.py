"""Whether an archive's run loses an image or does one twice when its driver is killed at random moments.

    python benchmarks/archive_kills.py --kills 50
    python benchmarks/archive_kills.py --kills 50 --nano --images 300 --within 8 --minutes 6
    python benchmarks/archive_kills.py --engine ray --kills 5
    python benchmarks/archive_kills.py --cluster

The driver is a process of its own, ended by SIGKILL at a seeded random moment after it began, then started again, and
so on; a run that comes to its end is counted and begun anew. `--within` is how long after it at most, in seconds (with
nano more than the model takes to load); `--minutes` ends it early and says after how many kills. Counted are images
without a row and with two. Judged by brightness, a hundredth of a second each, so that there are many commits, or with
nano; every 50th picture is broken.
`--cluster`: three nodes of a Ray cluster on this machine; an actor's process and then a node are killed meanwhile.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE / "tests"), str(HERE / "benchmarks")]

from archive_memory import repeat, tree  # noqa: E402

ENVIRONMENT = os.environ | {
    "PYTHONPATH": f"{HERE}{os.pathsep}{HERE / 'tests'}{os.pathsep}{HERE / 'benchmarks'}"
}
SPARE = 2  # logical cores beside the workers'


def main() -> None:
    """Kill and count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--nano", action="store_true", help="the samples with nano")
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--within", type=float, help="seconds; 2, and 20 with Ray")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(*options.drive)
        return
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder) / "img", options.images, options.nano)
        if options.cluster:
            in_a_cluster(Path(folder), options.images, "nano" if options.nano else "bright")
            told(Path(folder) / "table", options.images, "an actor and a node killed")
        else:
            killed(Path(folder), options)


def made(folder: Path, images: int, samples: bool) -> None:
    """The pictures, every 50th of them broken."""
    if samples:
        repeat(folder, images)
    else:
        from drawn_archive import draw

        draw(folder, images)
    for path in sorted(folder.rglob("*.*g"))[::50]:
        path.write_bytes(b"no picture")


def drive(folder: str, table: str, engine: str, kind: str) -> None:
    """In a process of its own: the run, with two workers."""
    from functools import partial

    from anomaly.archive import local_engine
    from anomaly.archive.archiving import opened
    from anomaly.archive.places import Place

    make = partial(examiner, kind)
    with opened(Place(table), (folder,), None, {"object": "part", "settings": {}}, engine) as archive:
        if engine == "local":
            counts = local_engine.run(archive.place, archive.manifest, make, 2)
        else:
            from anomaly.archive import ray_engine

            counts = ray_engine.run(archive.place, archive.manifest, make, 2, None)
        archive.finish(counts)


def examiner(kind: str):
    """Without a model, a hundredth of a second an image; or with nano."""
    if kind in ("bright", "quick"):
        import drawn_archive

        return drawn_archive.examiner(delay=0.01 if kind == "bright" else 0)
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    return examiner_of(Inspector, "part")


def killed(folder: Path, options: argparse.Namespace) -> None:
    """Kill the driver so many times; a table that is finished meanwhile is looked at, and another begun."""
    chance, done, tables = random.Random(options.seed), 0, 0
    within = options.within or (2.0 if options.engine == "local" else 20.0)
    kind, end = "nano" if options.nano else "bright", time.monotonic() + options.minutes * 60
    while done < options.kills and time.monotonic() < end:
        table = folder / f"table{tables}"
        command = [sys.executable, __file__, "--drive", str(folder / "img"), str(table), options.engine, kind]
        ended = False
        while done < options.kills and not ended and time.monotonic() < end:
            ended = killed_once(command, table, chance.uniform(0, within))
            done += not ended
        subprocess.run(command, env=ENVIRONMENT, check=True)
        tables += 1
        told(table, options.images, f"{done} kills")


def killed_once(command: list[str], table: Path, after: float) -> bool:
    """Start the driver and kill it `after` seconds of work; whether it had come to its end before that."""
    driver = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    before = began(table)
    while driver.poll() is None and began(table) == before:
        time.sleep(0.005)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(after)
    ended = driver.poll() is not None
    left = tree(driver.pid)[1:]
    driver.kill()
    driver.wait()
    if command[-2] == "ray":  # which outlives its driver, and is in the way of the next
        for one in left:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    return ended


def began(table: Path) -> int:
    """When the run's record was written last."""
    try:
        return (table / "_run.json").stat().st_mtime_ns
    except OSError:
        return 0


def in_a_cluster(folder: Path, images: int, kind: str) -> None:
    """Three nodes; while the run goes on, an actor's process and a whole node are killed."""
    from functools import partial
    from threading import Thread

    import ray
    from ray.cluster_utils import Cluster

    from anomaly.archive import ray_engine
    from anomaly.archive.archiving import opened
    from anomaly.archive.places import Place

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": SPARE, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(
        cluster.address,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}},
    )
    seen = []

    def kill() -> None:
        while not seen or seen[-1].done < images // 5:
            time.sleep(0.2)
        os.kill(actors()[0], signal.SIGKILL)
        print(f"killed an actor's process at {seen[-1].done} images", flush=True)
        while seen[-1].done < images // 2:
            time.sleep(0.2)
        cluster.remove_node(nodes[1], allow_graceful=False)
        print(f"killed a node at {seen[-1].done} images", flush=True)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    with opened(
        Place(str(folder / "table")), (str(folder / "img"),), None, {"object": "part", "settings": {}}, "ray"
    ) as archive:
        make = partial(examiner, kind)
        archive.finish(
            ray_engine.run(archive.place, archive.manifest, make, 3, cluster.address, tell=seen.append)
        )
    ray.shutdown()
    cluster.shutdown()


def actors() -> list[int]:
    """Process ids of Ray's actors that inspect, below this process."""
    found = []
    for one in tree(os.getpid()):
        with suppress(OSError):
            named = Path(f"/proc/{one}/cmdline").read_bytes()
            if b"ray::" in named and b"_Worker" in named:
                found.append(one)
    return found


def told(table: Path, images: int, what: str) -> None:
    """Print what is missing and what is there twice."""
    import pyarrow.dataset

    ids: list[str] = []
    for kind in ("images", "errors"):
        ids += pyarrow.dataset.dataset(table / kind).to_table(columns=["id"])["id"].to_pylist()
    lost, twice = images - len(set(ids)), len(ids) - len(set(ids))
    print(f"{what}: {images} images, {len(ids)} rows: {lost} lost, {twice} twice", flush=True)


if __name__ == "__main__":
    main()
