"""How long `steer-anomaly judge` takes for a finished run: 1,000 images of 1 MP, by how many outlines change.

    python benchmarks/judge.py --images 1000 --side 1000

The run is drawn: photographs with noise, smooth heatmaps with a peak, 30 % of them above the first threshold.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from anomaly.inspection import Inspection
from anomaly.regions import find_regions
from anomaly.runs.folder import ResultFolder
from anomaly.settings import InspectionSettings

FIRST = 5.0  # threshold of the run that is judged again


def finished(base: Path, images: int, side: int) -> Path:
    """The result folder of a run that was never made."""
    random = np.random.default_rng(0)
    scored = InspectionSettings(
        "drawn", (), (512, 512), ("{object}",), (), 1.0, "logit", 0, "1", 0, 0, "fp32"
    )
    settings = scored.to_dict() | {"threshold": FIRST, "mask_threshold": 4.0}
    photos = [
        cv2.resize(random.integers(60, 200, (side // 8, side // 8, 3), dtype=np.uint8), (side, side))
        for _ in range(8)
    ]
    rough = [cv2.resize(random.normal(0, 1, (64, 64)).astype(np.float32), (side, side)) for _ in range(8)]
    (base / "img").mkdir()
    y, x = np.mgrid[:side, :side].astype(np.float32)
    with ResultFolder(base / "out", {"object": "part", "settings": settings}) as folder:
        for number in range(images):
            path = base / "img" / f"{number:05}.jpg"
            cv2.imwrite(str(path), photos[number % 8])
            peak = random.uniform(0, FIRST / 0.7)
            at = random.uniform(0.2, 0.8, 2) * side
            bump = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * (side / 40) ** 2))
            heatmap = 0.3 * rough[number % 8] + np.float32(peak) * bump
            mask = heatmap >= 4.0 if peak >= FIRST else np.zeros(heatmap.shape, bool)
            regions = find_regions(mask, heatmap)
            found = Inspection(peak, peak >= FIRST, heatmap, mask, regions, FIRST, "part", "drawn")
            folder.write(path.stem, path, photos[number % 8], found)
    return base / "out"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = finished(Path(folder), given.images, given.side)
        print(f"{given.images} images of {given.side} x {given.side} px\nwhat | seconds\n--- | ---")
        for what, threshold, mask in (
            ("nothing changes", FIRST, 4.0), ("a tenth of the images change verdict", 0.9 * FIRST, 4.0),
            ("every outline changes", 0.9 * FIRST, 3.8), ("all become ok", 100.0, 100.0),
        ):  # fmt: skip
            command = [
                sys.executable,
                "-m",
                "anomaly.cli",
                "judge",
                str(out),
                "--quiet",
                "--threshold",
                str(threshold),
            ]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--mask-threshold", str(mask)], capture_output=True, text=True, check=True
            )
            print(f"{what} ({done.stdout.splitlines()[1]}) | {time.perf_counter() - began:.1f}", flush=True)


if __name__ == "__main__":
    main()
