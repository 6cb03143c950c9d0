"""An archive of tiny pictures, and an examiner without a model; in a module so that other processes can make it."""

import time
from functools import partial
from pathlib import Path

import numpy as np
from fake_inspector import FakeInspector
from PIL import Image

from anomaly.archive.entries import entries_of
from anomaly.archive.examining import Examiner
from anomaly.archive.manifest import read_shard, write_manifest
from anomaly.archive.places import Place
from anomaly.archive.table import close, commit, committed

HASH = "5e" * 32


def draw(folder, count, side=12, begin=0):
    """Write `count` tiny pictures; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.png" for number in range(begin, begin + count)]
    for number, path in enumerate(paths, begin):
        pixels = np.random.default_rng(number).integers(0, 255, (side, side + 2, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def listed(folder, table, **how):
    """The place of a new table, and the manifest of the pictures in `folder`."""
    place = Place(str(table))
    return place, write_manifest(place, entries_of([str(folder)]), (str(folder),), True, **how)


def examiner(threshold=100.0, delay=0.0):
    """Judges by brightness."""
    return Examiner(FakeInspector(delay, threshold), "plate", HASH)


def finish(place, manifest):
    """What the local engine does, in this process."""
    for chapter in range(len(manifest.chapters)):
        for shard in manifest.shards(chapter):
            if shard.name not in committed(place, chapter):
                commit(place, shard, list(examiner().rows(read_shard(place, shard))))
        close(place, chapter)


class Deadly(FakeInspector):
    """Ends its process at pictures of an odd size, as a broken decoder does."""

    def inspect_batch(self, images, object):
        if images[0].shape[1] == 99:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        return super().inspect_batch(images, object)


def deadly():
    """An examiner that does not survive some pictures."""
    return Examiner(Deadly(threshold=100.0), "plate", HASH)


def on_a_full_disk():
    """An examiner in a process to whom every disk is full."""
    from anomaly.archive import places

    def full(path, content):
        raise OSError(28, "No space left on device")

    places.write_whole = full
    return examiner()


def slow_driver(folder, table, delay):
    """Run as a process of its own, to be killed: two workers over the pictures in `folder`."""
    from anomaly.archive.archiving import opened
    from anomaly.archive.local_engine import run

    with opened(Place(table), (folder,), None, {"object": "plate", "settings": {}}, "local") as archive:
        counts = run(archive.place, archive.manifest, partial(examiner, delay=float(delay)), 2)
        archive.finish(counts)


def wait_for(condition, seconds=20.0):
    """Until `condition()`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def rows_of(table, kind="images"):
    """All rows of a table, by id; fails when one is there twice."""
    import pyarrow.dataset

    if not (Path(table) / kind).is_dir():
        return {}
    rows = pyarrow.dataset.dataset(Path(table) / kind).to_table().to_pylist()
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


if __name__ == "__main__":
    import sys

    slow_driver(*sys.argv[1:])
