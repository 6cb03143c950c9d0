"""Miniatures of the probes' data sets in their official layouts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from drawn_steerability import COLOURS, jpeg

NAMES = list(COLOURS)


def put(path: Path, colour: str, seed: int, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(colour, seed, size=size))


def imagewoof(root: Path, each: int = 3) -> Path:
    """Two breeds, told apart by their colour."""
    for part, offset in (("train", 0), ("val", 100)):
        for i, breed in enumerate(("n02086240", "n02087394")):
            for k in range(each):
                name = f"ILSVRC2012_val_{k:08}.JPEG" if part == "val" else f"{breed}_{k}.JPEG"
                put(root / "imagewoof2-320" / part / breed / name, NAMES[i], offset + 10 * i + k)
    return root


def waterbirds(root: Path, each: int = 2) -> Path:
    """Birds are colours; of landbirds on water, half have the colour of waterbirds."""
    place = root / "waterbird_complete95_forest2water2"
    rows = []
    for split, y, where, k in np.ndindex(3, 2, 2, each):
        odd = (y, where) == (0, 1) and k % 2
        name = f"{split}{y}.Bird/picture_{where}_{k}.jpg"
        put(place / name, NAMES[1 if odd else y], 1000 + len(rows))
        rows.append([len(rows), name, y, split, where, "/f/forest/0.jpg"])
    with (place / "metadata.csv").open("w", newline="") as file:
        head = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
        csv.writer(file).writerows([head, *rows])
    return root


def cars(root: Path, each: int = 3) -> Path:
    """Two models, told apart by their colour; labels in MATLAB files, classes counted from 1."""
    from scipy.io import savemat

    place = root / "stanford_cars"
    (place / "devkit").mkdir(parents=True)
    for part, file in (
        ("train", "devkit/cars_train_annos.mat"),
        ("test", "cars_test_annos_withlabels.mat"),
    ):
        kinds = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
        entries = np.zeros((1, 2 * each), kinds)
        for i in range(2 * each):
            name = f"{i + 1:05}.jpg"
            put(place / f"cars_{part}" / name, NAMES[2 + i % 2], 2000 + i)
            entries[0, i] = (np.array([[1]], np.uint8), np.array([[1 + i % 2]], np.uint8), np.array([name]))
        savemat(place / file, {"annotations": entries})
    return root


def probe(root: Path) -> Path:
    """All three."""
    return cars(waterbirds(imagewoof(root)))
