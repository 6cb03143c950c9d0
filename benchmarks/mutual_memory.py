"""How much memory comparing a large run takes: descriptions on disk, whatever the number of images.

    python benchmarks/mutual_memory.py [--images 10000] [--side 8] [--channels 32] [--partners 100]

Drawn descriptions of side x side patches. What grows with the patches of an image is printed beside what was measured,
so that nano's 32 x 32 patches can be told from fewer: the distances of images whose partners were not all met yet
(about twice `partners` of them), the scores of all, and what the scale is set by.
"""

from __future__ import annotations

import resource
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import click
import numpy as np
import torch

from anomaly.comparison import SAMPLED, compare
from anomaly.evidence.mutual import FeatureStore, MutualSettings


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@click.command()
@click.option("--images", default=10_000, show_default=True)
@click.option("--side", default=8, show_default=True)
@click.option("--channels", default=32, show_default=True)
@click.option("--partners", default=100, show_default=True)
def main(images: int, side: int, channels: int, partners: int) -> None:
    """Print peak memory before and after comparing."""
    torch.set_num_threads(1)
    patches, random = side * side, torch.Generator().manual_seed(0)
    keys = [sha256(str(number).encode()).hexdigest() for number in range(images)]
    own = [np.zeros((64, SAMPLED // 64), np.float32) + number for number in range(images)]
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), keys[0])
        for key in keys:
            store.add(key, [torch.randn(patches, channels, generator=random)])
        before, began = peak(), time.process_time()
        compare(own, store, keys, settings=MutualSettings(partners=partners))
    seconds = time.process_time() - began
    waiting, scores = 4 * partners * partners * patches / 1e6, 4 * images * patches / 1e6
    print(f"{images} images of {side} x {side} x {channels}, {partners} partners: {seconds:.0f} CPU s")
    print(
        f"peak {before:.0f} MB before, {peak():.0f} MB after; of it waiting {waiting:.0f}, scores {scores:.0f} MB"
    )


if __name__ == "__main__":
    main()
