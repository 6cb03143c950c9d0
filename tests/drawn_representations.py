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


def ade20k(root: Path, train: int = 4, val: int = 2) -> Path:
    """Left half one class, right half another, each of its own colour: walls are red, floors green, cars blue."""
    from PIL import Image

    place = root / "ADEChallengeData2016"
    for part, count in (("training", train), ("validation", val)):
        for i in range(count):
            pair = [(1, 4), (4, 21)][i % 2]
            half = [colour_image({1: "mug", 4: "key", 21: "pen"}[number], i) for number in pair]
            mask = np.concatenate([np.full((24, 16), number, np.uint8) for number in pair], 1)
            mask[:2] = 0
            stem = f"ADE_{part[:5]}_{i + 1:08}"
            for folder in ("images", "annotations"):
                (place / folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate(half, 1)).save(place / f"images/{part}/{stem}.jpg", quality=95)
            Image.fromarray(mask).save(place / f"annotations/{part}/{stem}.png")
    named = {1: "wall", 4: "floor, flooring", 21: "car, auto, automobile"}
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{i}\t0.1\t10\t1\t1\t{named.get(i, f'thing{i}')}" for i in range(1, 151)]
    (place / "objectInfo150.txt").write_text("\n".join(lines) + "\n")
    return root


def colour_image(name: str, seed: int, size_hw: tuple[int, int] = (24, 16)) -> np.ndarray:
    """Noise around a colour, RGB uint8."""
    pixels = np.random.default_rng(seed).normal(COLOURS[name], 10, (*size_hw, 3))
    return pixels.clip(0, 255).astype(np.uint8)
