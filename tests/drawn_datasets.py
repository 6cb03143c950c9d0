"""Miniature copies of benchmark layouts, drawn: grey noise with a bright square where the mask is."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path

import cv2
import numpy as np

from anomaly.testsets.cards import load


def draw(
    path: Path,
    mask_path: Path | None,
    seed: int | tuple[int, ...],
    contrast: tuple[int, int] = (15, 45),
    size_hw: tuple[int, int] = (24, 32),
) -> None:
    """A noisy grey image; with `mask_path`, a square brighter by `contrast` (drawn from it) and its mask.

    What is drawn depends on the arguments other than the paths alone, never on where the folder lies.
    """
    rng = np.random.default_rng(seed)
    image = rng.normal(90, 12, (*size_hw, 3))
    if mask_path is not None:
        y, x = rng.integers(1, size_hw[0] - 9), rng.integers(1, size_hw[1] - 9)
        mask = np.zeros(size_hw, np.uint8)
        mask[y : y + 7, x : x + 7] = 255
        image[mask > 0] += rng.uniform(*contrast)
        write(mask_path, mask)
    write(path, image.clip(0, 255).astype(np.uint8))


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def seed_of(name: str, number: int) -> tuple[int, int]:
    return zlib.crc32(name.encode()), number


def mvtec_category(
    folder: Path, defects: tuple[str, ...] = ("crack", "stain"), good: int = 2, each: int = 2
) -> Path:
    for i in range(good):
        draw(folder / f"test/good/{i:03}.png", None, seed_of(folder.name, 100 + i))
    for k, defect in enumerate(defects):
        for i in range(each):
            truth = folder / f"ground_truth/{defect}/{i:03}_mask.png"
            draw(folder / f"test/{defect}/{i:03}.png", truth, seed_of(folder.name, 10 * k + i))
    return folder


def mvtec(root: Path) -> Path:
    for category in load("mvtec").categories:
        mvtec_category(root / category.name)
    return root


def visa(root: Path) -> Path:
    rows = []
    for category in load("visa").categories:
        base = f"{category.name}/Data"
        for i in range(3):
            image, bad = f"{base}/Images/Normal/{i:04}.JPG", f"{base}/Images/Anomaly/{i:03}.JPG"
            mask = f"{base}/Masks/Anomaly/{i:03}.png"
            draw(root / image, None, seed_of(category.name, 50 + i))
            draw(root / bad, root / mask, seed_of(category.name, i))
            write(
                root / mask, (cv2.imread(str(root / mask), 0) > 0).astype(np.uint8)
            )  # VisA's masks are small values
            rows.append((category.name, "train" if i == 0 else "test", "normal", image, ""))
            rows.append((category.name, "test", "anomaly", bad, mask))
    table = root / "split_csv/1cls.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("object", "split", "label", "image", "mask"), *rows])
    return root


def mvtec_ad_2(root: Path) -> Path:
    for category in load("mvtec-ad-2").categories:
        public = root / category.name / "test_public"
        for i in range(2):
            draw(public / f"good/{i:03}_regular.png", None, seed_of(category.name, 20 + i))
            truth = public / f"ground_truth/bad/{i:03}_regular_mask.png"
            draw(public / f"bad/{i:03}_regular.png", truth, seed_of(category.name, i))
            draw(
                root / category.name / f"test_private/{i:03}_regular.png",
                None,
                seed_of(category.name, 40 + i),
            )
            draw(
                root / category.name / f"test_private_mixed/{i:03}_mixed.png",
                None,
                seed_of(category.name, 60 + i),
            )
    return root
