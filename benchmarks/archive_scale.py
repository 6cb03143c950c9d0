"""The figures that docs/archive.md reckons with: CPU of an image, of listing and closing; bytes of rows, lists and ids.

    python benchmarks/archive_scale.py TABLE

TABLE is one that `steer-anomaly archive` wrote with nano. Lists are made of invented entries; images are the samples,
enlarged, by nano in one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))


def main() -> None:
    """Measure and print."""
    from pyarrow import parquet

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--images", type=int, default=200_000)
    options = parser.parse_args()
    files = sorted((options.table / "images").rglob("*.parquet"))
    heads = [parquet.ParquetFile(path).metadata for path in files]
    rows = sum(head.num_rows for head in heads)
    columns: dict[str, int] = {}
    for head in heads:
        for group in range(head.num_row_groups):
            for column in range(head.num_columns):
                chunk = head.row_group(group).column(column)
                name = chunk.path_in_schema.split(".")[0]
                columns[name] = columns.get(name, 0) + chunk.total_compressed_size
    print(
        f"{rows} rows, {sum(path.stat().st_size for path in files) / rows:.0f} bytes each on disk; of these"
    )
    for name, size in sorted(columns.items(), key=lambda item: -item[1])[:6]:
        print(f"  {name:14} {size / rows:8.1f}")
    asked = sum(columns[name] for name in ("score", "verdict", "taken"))
    print(f"  score, verdict and taken together {asked / rows:.1f}")
    listing(options.images)
    inventory(options.images)
    pictures()
    closing(options.images)
    if find_spec("lance"):
        to_lance(files)


def digest(number: int) -> str:
    """As long, and as little to be compressed, as an etag."""
    return hashlib.md5(str(number).encode()).hexdigest()


def listing(images: int) -> None:
    """A list of entries with paths of 60 characters."""
    import numpy as np
    from pyarrow import parquet

    from anomaly.archive.entry import Entry
    from anomaly.archive.manifest import read_columns, write_manifest
    from anomaly.archive.places import Place

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    entries = (
        Entry(
            f"s3://plant-archive/2026/line-7/camera-2/{i:012}.jpg",
            digest(i),
            200_000 + i,
            begin + timedelta(seconds=i),
        )
        for i in range(images)
    )
    with tempfile.TemporaryDirectory() as folder:
        place, clock = Place(folder), time.process_time()
        write_manifest(place, entries, ("s3://plant-archive/",), True)
        seconds = time.process_time() - clock
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        ids = read_columns(place, 0, ["id"])["id"].to_numpy(zero_copy_only=False)
        (path,) = Path(folder).rglob("*.parquet")
        head = parquet.ParquetFile(path).metadata
        print(
            f"footer of the list: {head.serialized_size / head.num_row_groups:.0f} bytes a row group of 1,024"
        )
    memory = ids.nbytes + sum(map(sys.getsizeof, ids[:1000])) / 1000 * len(ids)
    assert isinstance(ids, np.ndarray)
    print(f"list: {images / seconds:.0f} entries a CPU second, {size / images:.0f} bytes each on disk")
    print(f"ids as Ray's checkpoint holds them (NumPy array of texts): {memory / len(ids):.0f} bytes each")


def inventory(images: int) -> None:
    """Entries out of an S3 Inventory in Parquet, remembered so that none comes twice."""
    import pyarrow as pa
    from pyarrow import parquet

    from anomaly.archive.entries import entries_of
    from anomaly.archive.manifest import write_manifest
    from anomaly.archive.places import Place

    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "bucket": ["plant-archive"] * images,
            "key": [f"2026/line-7/camera-2/{i:012}.jpg" for i in range(images)],
            "size": list(range(images)),
            "last_modified_date": [1_772_352_000_000 + i for i in range(images)],
            "e_tag": [digest(i) for i in range(images)],
        }
        inputs = (f"{folder}/inventory.parquet",)
        parquet.write_table(pa.table(rows), inputs[0])
        clock = time.process_time()
        write_manifest(Place(f"{folder}/t"), entries_of(inputs), inputs, False)
        print(f"list from an inventory: {images / (time.process_time() - clock):.0f} entries a CPU second")


def pictures() -> None:
    """CPU seconds of an image, read and inspected, by its size."""
    from PIL import Image

    from anomaly.archive.entries import entries_of
    from anomaly.archive.examining import examiner_of
    from anomaly.inspector import Inspector

    examiner = examiner_of(Inspector, "part")
    samples = sorted((HERE / "docs" / "samples").rglob("*.jpg"))[:8]
    for width, height in ((320, 320), (1280, 800), (2592, 1944), (4000, 3000)):
        with tempfile.TemporaryDirectory() as folder:
            for i, sample in enumerate(samples):
                Image.open(sample).resize((width, height)).save(f"{folder}/{i}.jpg", quality=90)
            entries = list(entries_of([folder]))
            examiner.row(entries[0])
            clock = time.process_time()
            assert all(row["score"] is not None for row in examiner.rows(entries))
            seconds = (time.process_time() - clock) / len(entries)
        print(f"an image of {width} x {height}: {seconds:.3f} CPU s")


def closing(images: int) -> None:
    """A chapter of files that have nothing but ids and verdicts is checked and closed."""
    import pyarrow as pa
    from pyarrow import parquet

    from anomaly.archive.entry import Entry
    from anomaly.archive.manifest import write_manifest
    from anomaly.archive.places import Place
    from anomaly.archive.table import close

    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        entries = [Entry(f"s3://plant-archive/{i:012}.jpg", digest(i)) for i in range(images)]
        write_manifest(place, entries, ("s3://plant-archive/",), True)
        (place.path / "images/chapter-00000").mkdir(parents=True)
        files = range(0, images, 1024)
        for number, first in enumerate(files):
            ids = [one.id for one in entries[first : first + 1024]]
            rows = pa.table({"id": ids, "verdict": ["ok"] * len(ids)})
            parquet.write_table(rows, place.path / f"images/chapter-00000/{number:05}.parquet")
        del entries
        pool = pa.system_memory_pool()  # one that begins with nothing
        pa.set_memory_pool(pool)
        clock = time.process_time()
        close(place, 0)
        seconds = time.process_time() - clock
    print(
        f"closing: {1000 * seconds / len(files):.1f} CPU ms a file, {pool.max_memory() / images:.0f} bytes an id"
    )


def to_lance(files: list[Path]) -> None:
    """The rows as a Lance dataset."""
    import lance
    import pyarrow as pa
    from pyarrow import parquet

    from anomaly.archive.columns import SCHEMA

    rows = pa.concat_tables([parquet.read_table(path, schema=SCHEMA) for path in files])
    many = pa.concat_tables([rows] * max(1, 20_000 // rows.num_rows))
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        lance.write_dataset(many, f"{folder}/images.lance")
        seconds = time.perf_counter() - clock
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    print(
        f"Lance: {many.num_rows / seconds:.0f} rows a second, {size / many.num_rows:.0f} bytes each on disk"
    )


if __name__ == "__main__":
    main()
