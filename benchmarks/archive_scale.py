"""The figures that docs/archive.md reckons with: bytes of a row, of the list, of ids in memory; entries listed.

    python benchmarks/archive_scale.py TABLE

TABLE is one that `steer-anomaly archive` wrote with nano. Reads no image; the list is made of invented entries.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
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
    listing(options.images)


def digest(number: int) -> str:
    """As long, and as little to be compressed, as an etag."""
    return hashlib.md5(str(number).encode()).hexdigest()


def listing(images: int) -> None:
    """A list of entries with paths of 60 characters."""
    import numpy as np

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
    memory = ids.nbytes + sum(map(sys.getsizeof, ids[:1000])) / 1000 * len(ids)
    assert isinstance(ids, np.ndarray)
    print(f"list: {images / seconds:.0f} entries a CPU second, {size / images:.0f} bytes each on disk")
    print(f"ids as Ray's checkpoint holds them (NumPy array of texts): {memory / len(ids):.0f} bytes each")


if __name__ == "__main__":
    main()
